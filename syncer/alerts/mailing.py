"""One mail of an alert, over SMTP. Nothing that the server said but its code is told: it may quote what was sent."""

from __future__ import annotations

import email.utils
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from syncer.alerts.posting import NotDelivered
from syncer.alerts.settings import Email
from syncer.alerts.wording import plain, subject

PORTS = {"starttls": 587, "ssl": 465, "none": 25}


def mail(alert: Email, body: Mapping[str, Any], folder: Path) -> str:
    """Hand a mail over; says to whom. `folder` is what a relative `ca_file` is below. Raises NotDelivered."""
    message = EmailMessage()
    message["Subject"] = " ".join(subject(body).split())
    message["From"], message["To"] = alert.sender, ", ".join(alert.to)
    message["Date"] = email.utils.formatdate(localtime=False)
    # The same message is recognised when it is sent twice.
    message["Message-ID"] = f"<{body['id']}@{alert.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain(body))
    server = f"{alert.host}:{alert.port or PORTS[alert.tls]}"
    try:
        with _connected(alert, _trust(alert, folder)) as smtp:
            if alert.user is not None and alert.password is not None:
                smtp.login(alert.user, alert.password.get_secret_value())
            refused = smtp.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise NotDelivered(f"{server} refused the login ({error.smtp_code}). Check `user` and `password`.") from None
    except smtplib.SMTPNotSupportedError:
        raise NotDelivered(f"{server} offers no STARTTLS, or no way to log in. Check `port` and `tls`.") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(sorted({str(code) for code, _ in error.recipients.values()}))
        raise NotDelivered(f"{server} takes mail for none of the addresses in `to` ({codes}).") from None
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"{server} refused the mail ({error.smtp_code}).") from None
    except ssl.SSLCertVerificationError:
        raise NotDelivered(
            f"The certificate of {server} cannot be trusted. Check `host`, or name its issuer in `ca_file`."
        ) from None
    except (ssl.SSLError, smtplib.SMTPException):
        raise NotDelivered(f"{server} does not speak as a mail server does. Check `port` and `tls`.") from None
    except OSError as error:
        raise NotDelivered(f"{server} cannot be reached ({type(error).__name__}).") from None
    if refused:
        raise NotDelivered(f"{server} took the mail, but not for {len(refused)} of the {len(alert.to)} addresses.")
    return f"{server} took the mail for {', '.join(alert.to)}."


def _trust(alert: Email, folder: Path) -> ssl.SSLContext | None:
    if alert.tls == "none":
        return None
    try:
        return ssl.create_default_context(cafile=None if alert.ca_file is None else str(folder / alert.ca_file))
    except (OSError, ssl.SSLError):
        raise NotDelivered(f"`ca_file` ({alert.ca_file}) cannot be read as certificates.") from None


def _connected(alert: Email, trust: ssl.SSLContext | None) -> smtplib.SMTP:
    port = alert.port or PORTS[alert.tls]
    if alert.tls == "ssl":
        return smtplib.SMTP_SSL(alert.host, port, timeout=alert.timeout, context=trust)
    smtp = smtplib.SMTP(alert.host, port, timeout=alert.timeout)
    if trust is not None:
        try:
            smtp.starttls(context=trust)
        except BaseException:
            smtp.close()
            raise
    return smtp
