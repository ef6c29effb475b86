"""What our adapters say of credentials: that they are refused, and when they end."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from destinations.salesforce import Salesforce
from destinations.salesforce_parts.settings import SalesforceSettings
from destinations.standins.customerio import CustomerioStandIn
from destinations.standins.orbit import OrbitStandIn
from destinations.standins.salesforce import SalesforceStandIn
from destinations.standins.server import Server
from syncer.errors import CredentialsRefused
from syncer.testing import Memory, MemorySettings
from tests.destinations.benches import CustomerioBench, OrbitBench, SalesforceBench
from tests.destinations.test_conformance_webhook import WebhookBench
from tests.standins.webhook import WebhookStandIn

DAY = datetime.date(2031, 5, 17)


@pytest.mark.parametrize("kind", ["customerio", "orbit", "salesforce", "webhook"])
def test_refused_credentials_are_an_error_of_their_own(kind: str) -> None:
    """A 401 that lasts is told apart from everything else that makes a destination unusable."""
    api_key, app_key = CustomerioBench.secrets
    standin, bench_type = {
        "customerio": lambda: (CustomerioStandIn(api_key=api_key, app_key=app_key), CustomerioBench),
        "orbit": lambda: (OrbitStandIn(api_key=OrbitBench.secrets[0]), OrbitBench),
        "salesforce": lambda: (SalesforceStandIn(), SalesforceBench),
        "webhook": lambda: (WebhookStandIn(), WebhookBench),
    }[kind]()
    with Server({"": standin}):
        bench = bench_type(standin)
        bench.trouble("status", status=401, content={}, times=None, only_writes=False)
        bench.put(1, {})
        adapter = bench.adapter(bench.transport())
        with pytest.raises(CredentialsRefused):
            list(adapter.push(bench.sync(), [bench.change(1, {bench.text: "hot"})]))


def test_the_end_of_credentials_is_what_the_config_says() -> None:
    """`expires` is a day; without it nothing is known."""
    settings = MemorySettings()

    assert Memory.expires(settings) is None
    assert DAY == Memory.expires(settings.model_copy(update={"expires": DAY}))


def test_a_certificate_tells_its_end() -> None:
    """Salesforce: a certificate beside the private key counts, and whichever ends first; a key alone has no end."""
    key, certificate = key_and_certificate(DAY)
    settings = SalesforceSettings.model_construct(
        private_key=SecretStr(key + certificate), expires=DAY + datetime.timedelta(days=9)
    )

    assert DAY == Salesforce.expires(settings)
    assert DAY - datetime.timedelta(days=1) == Salesforce.expires(
        settings.model_copy(update={"expires": DAY - datetime.timedelta(days=1)})
    )
    assert Salesforce.expires(SalesforceSettings.model_construct(private_key=SecretStr(key), expires=None)) is None
    broken = SecretStr(certificate.replace("M", "?"))
    assert Salesforce.expires(SalesforceSettings.model_construct(private_key=broken, expires=None)) is None


def key_and_certificate(last: datetime.date) -> tuple[str, str]:
    """PEM texts of a key and of its certificate that ends on a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "syncer")])
    end = datetime.datetime.combine(last, datetime.time(12), datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=365))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), made.public_bytes(serialization.Encoding.PEM).decode()
