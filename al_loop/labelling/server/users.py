"""Add annotators to the embedded server through its invitation link, as a sign-up in the browser does."""

from __future__ import annotations

import re
import secrets

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.failures import explain_failures
from al_loop.labelling.client.responses import Invitation, read_answer
from al_loop.labelling.server.server import ServerInfo

_TIMEOUT_S = 60.0
#: Error messages of fields on the sign-up page.
_ERRORS = re.compile(r'class="(?:field_errors|error[^"]*|form-error[^"]*)"[^>]*>(.*?)</', re.DOTALL)


def add_user(info: ServerInfo, email: str, password: str | None = None) -> str:
    """Add an annotator and return the password, by default a random one. It is not stored.

    Raises LabelStudioError if the address is invalid or taken, or the server refuses the password.
    """
    from al_loop.labelling.client.http import BoundedClient, csrf_token

    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise LabelStudioError(f"{email!r} is no e-mail address such as ada@example.org")
    password = password or secrets.token_urlsafe(12)
    with explain_failures(info.url, f"add {email}"):
        headers = {"Authorization": f"Token {info.token}"}
        with BoundedClient(base_url=info.url, timeout=_TIMEOUT_S, trust_env=False) as browser:
            invitation = browser.get("/api/invite", headers=headers)
            if invitation.status_code != 200:
                raise LabelStudioError(f"{info.url} gives no invitation ({invitation.status_code})")
            token = read_answer(invitation.content, Invitation)["token"]
            page = f"/user/signup/?token={token}"
            browser.get(page)
            form = {"email": email, "password": password, "csrfmiddlewaretoken": csrf_token(browser.cookies)}
            answer = browser.post(page, data=form, headers={"Referer": f"{info.url}{page}"})
    if answer.status_code == 302:
        return password
    messages = [re.sub(r"<[^>]+>", "", text).strip() for text in _ERRORS.findall(answer.text)]
    reason = "; ".join(filter(None, messages)) or f"status {answer.status_code}"
    raise LabelStudioError(
        f"{info.url} does not accept {email} ({reason}). "
        "Choose another address or password: al-loop label-studio user add EMAIL"
    )
