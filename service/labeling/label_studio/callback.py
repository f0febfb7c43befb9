"""The webhook by which Label Studio tells the service of annotations: one of ours in each project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motiontrace.documents.label_studio import Callback
from motiontrace.service.labeling.label_studio.connection import LabelStudioError

if TYPE_CHECKING:
    from motiontrace.service.labeling.label_studio.connection import LabelStudio

Json = dict[str, Any]
PATH = "/labeling/label-studio/webhook"
HEADER = "X-Motiontrace-Secret"
SECRET = "label-studio webhook"  # its name among the service's secrets
# The second is sent where somebody makes annotations of many predictions at once.
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
RESERVED = "reserved network address"  # in Label Studio's refusal of private addresses
ELSEWHERE = (
    "set MOTIONTRACE_LABEL_STUDIO_CALLBACK_URL to an address at which Label Studio's server reaches this service"
)


def ensure_callback(studio: LabelStudio, project: int, address: str, secret: str) -> Callback:
    """Make or mend our webhook of a project; others are left alone, surplus ones of ours are removed.

    Args:
        studio: the server.
        project: its number of the project.
        address: where the server reaches this service, without a closing slash.
        secret: what the webhook brings in HEADER, by which ours are known.

    Raises:
        LabelStudioError: something else failed than that Label Studio refuses the address.
    """
    wanted: Json = {
        "url": address + PATH,
        "headers": {HEADER: secret},
        "actions": sorted(ACTIONS),
        "send_for_all_actions": False,
        "send_payload": True,  # which tasks it is about
        "is_active": True,
    }
    ours = [hook for hook in studio.webhooks(project) if (hook.get("headers") or {}).get(HEADER) == secret]
    for surplus in ours[1:]:
        studio.delete_webhook(surplus["id"])
    try:
        if not ours:
            studio.create_webhook(project, **wanted)
        elif any(_comparable(ours[0].get(name)) != wanted[name] for name in wanted):
            studio.update_webhook(ours[0]["id"], **wanted)
    except LabelStudioError as error:
        if error.code != "label_studio_refused":
            raise
        return Callback(active=False, reason=_reason(address, error))
    return Callback(active=True, reason=None)


def _comparable(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _reason(address: str, error: LabelStudioError) -> str:
    """Why Label Studio does not take the address, and what to set; its answers are those of version 1.23."""
    refused = f"Label Studio does not call {address}{PATH}: {error.detail or error.happened}"
    if RESERVED in error.detail:
        todo = (
            f"Where that is right, start Label Studio with USE_DEFAULT_BANNED_SUBNETS=false and what it must still "
            f"not reach in USER_ADDITIONAL_BANNED_SUBNETS (169.254.0.0/16, ...); else {ELSEWHERE}."
        )
    elif "valid URL" in error.detail:
        todo = f"The host needs a dot in its name: {ELSEWHERE}, as http://motiontrace.internal:8600."
    else:
        todo = f"{ELSEWHERE[0].upper()}{ELSEWHERE[1:]}."
    return f"{refused.rstrip('.')}. {todo} Until then pull the project to get what reviewers say."
