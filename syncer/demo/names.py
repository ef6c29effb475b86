"""Names of people and companies that do not exist, with the spelling that their addresses would use."""

from __future__ import annotations

# Shown name, then the letters of it that fit into an e-mail address.
FIRST = (
    ("Ada", "ada"), ("Aisha", "aisha"), ("Åsa", "asa"), ("Bruno", "bruno"), ("Chloé", "chloe"), ("Daniel", "daniel"),
    ("Đorđe", "dorde"), ("Elif", "elif"), ("Émile", "emile"), ("Femi", "femi"), ("Grace", "grace"), ("Hana", "hana"),
    ("Íris", "iris"), ("Jörg", "joerg"), ("José", "jose"), ("Kasia", "kasia"), ("Linh", "linh"), ("Łukasz", "lukasz"),
    ("Maya", "maya"), ("Mehmet", "mehmet"), ("Noor", "noor"), ("Núria", "nuria"), ("Olga", "olga"), ("Priya", "priya"),
    ("Rafael", "rafael"), ("Saoirse", "saoirse"), ("Søren", "soeren"), ("Tomás", "tomas"), ("Uma", "uma"),
    ("Wei", "wei"), ("Yuki", "yuki"), ("Zoë", "zoe"), ("美咲", "misaki"), ("Дмитрий", "dmitri"), ("Ελένη", "eleni"),
    ("نور", "nour"), ("지우", "jiwoo"), ("अनिका", "anika"),
)  # fmt: skip
LAST = (
    ("Almeida", "almeida"), ("Bianchi", "bianchi"), ("Çelik", "celik"), ("Dvořák", "dvorak"), ("Eriksen", "eriksen"),
    ("Fernández", "fernandez"), ("García", "garcia"), ("Haddad", "haddad"), ("Ionescu", "ionescu"),
    ("Jensen", "jensen"), ("Kowalski", "kowalski"), ("Lefèvre", "lefevre"), ("Müller", "mueller"),
    ("Nguyễn", "nguyen"), ("O'Brien", "obrien"), ("Okafor", "okafor"), ("Park", "park"), ("Quinn", "quinn"),
    ("Rossi", "rossi"), ("Sánchez", "sanchez"), ("Smith", "smith"), ("Þórsson", "thorsson"), ("Tanaka", "tanaka"),
    ("Umarov", "umarov"), ("van der Berg", "vanderberg"), ("Weiß", "weiss"), ("Yücel", "yucel"), ("Żak", "zak"),
    ("李", "li"), ("佐藤", "sato"), ("Иванова", "ivanova"),
)  # fmt: skip
COMPANY = (
    "Alder", "Beacon", "Café Nord", "Delta & Söhne", "Ember", "Fjord", "Granite", "Harbor", "Iris", "Juniper",
    "Kestrel", "Lumen", "Maple", "Nimbus", "Orchard", "Pixel", "Quarry", "Río Claro", "Summit", "Tidal",
    "Umbra", "Vela", "Willow", "Xylo", "Yonder", "Zephyr",
)  # fmt: skip
TRADE = (
    "Analytics", "Bikes", "Cloud", "Design", "Energy", "Foods", "Games", "Health", "Insurance", "Journeys",
    "Kitchens", "Labs", "Media", "Networks", "Optics", "Payments", "Robotics", "Systems", "Travel", "Works",
)  # fmt: skip
TEAM = ("Data", "Design", "Finance", "Growth", "Marketing", "Operations", "Platform", "Sales", "Support", "Website")
COUNTRY = ("BR", "CA", "DE", "ES", "FR", "GB", "IN", "JP", "KE", "NL", "PL", "SE", "US", "US", "US")
PLAN = ("free", "free", "free", "starter", "starter", "team", "enterprise")
