"""Add annotators to the embedded server through its invitation link, as people sign up."""

from __future__ import annotations

import re
import secrets

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.failures import decoded
from al_loop.labelling.client.responses import Invitation, checked
from al_loop.labelling.server.server import ServerInfo

_TIMEOUT_S = 60.0


def add_user(info: ServerInfo, email: str, password: str | None = None) -> str:
    """Add an annotator and return the password, by default a random one; it is stored nowhere.

    Raises LabelStudioError where the address is none, is taken, or the server refuses the password.
    """
    from al_loop.labelling.client.http import BoundedClient, csrf_token

    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise LabelStudioError(f"{email!r} is no e-mail address: expected one such as ada@example.org")
    password = password or secrets.token_urlsafe(12)
    with info.connection.explain(f"add {email}"):
        headers = {"Authorization": f"Token {info.token}"}
        with BoundedClient(base_url=info.url, timeout=_TIMEOUT_S, trust_env=False) as browser:
            invitation = browser.get("/api/invite", headers=headers)
            if invitation.status_code != 200:
                raise LabelStudioError(f"{info.url} gives no invitation ({invitation.status_code})")
            token = checked(decoded(invitation.content), Invitation)["token"]
            page = f"/user/signup/?token={token}"
            browser.get(page)
            form = {
                "email": email,
                "password": password,
                "csrfmiddlewaretoken": csrf_token(browser.cookies),
            }
            answer = browser.post(page, data=form, headers={"Referer": f"{info.url}{page}"})
    if answer.status_code == 302:
        return password
    messages = [re.sub(r"<[^>]+>", "", text).strip() for text in _ERRORS.findall(answer.text)]
    raise LabelStudioError(
        f"{info.url} does not take {email} "
        f"({'; '.join(filter(None, messages)) or f'status {answer.status_code}'}). "
        "Choose another address or password: al-loop label-studio user add EMAIL"
    )


#: Errors of fields on the sign-up page.
_ERRORS = re.compile(r'class="(?:field_errors|error[^"]*|form-error[^"]*)"[^>]*>(.*?)</', re.DOTALL)
