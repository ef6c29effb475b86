"""Alerts: who is told when something needs somebody, and that it is over.

    settings    `[[alerts]]` of the config
    troubles    what is wrong, as the journal, the source and the config have it: pure
    news        what an alert has to say: what is wrong now, beside what it has told already: pure
    wording     a message, as text
    slack, webhook, email    the ways out; each says what came back, or raises NotDelivered
    outbox      queued messages: delivered in their order, repeated, and never dropped silently
    watch       one look at everything, and the daemon's thread that looks again and again

What was told is kept in the control store, so neither a restart nor a second process tells it twice.
"""
