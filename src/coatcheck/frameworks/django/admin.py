"""The sessions of a user, in the admin of the users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from coatcheck.frameworks.django.configuration import sessions

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

__all__ = ["SessionsOfUser"]

# No button: the first one of a form is pressed by Enter in any of its fields.
_ROW = (
    "<p>{} <small>{} – {}</small> "
    '<label class="vCheckboxLabel"><input type="checkbox" name="_end_session" value="{}"> {}</label></p>'
)


class SessionsOfUser(_Base):
    """``class MyUserAdmin(SessionsOfUser, UserAdmin)``: staff who may change a user see his devices, and end sessions."""

    actions: Any = ("end_sessions",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """The field of the sessions, too."""
        return [*super().get_readonly_fields(request, obj), "sessions"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """A section for the sessions, too, for staff who may change the user."""
        may_see = obj is not None and self.has_change_permission(request, obj)
        shown = [(_("Sessions"), {"fields": ["sessions"]})] if may_see else []
        return [*super().get_fieldsets(request, obj), *shown]

    @admin.display(description=_("devices"))
    def sessions(self, user: Any) -> str:
        """The devices, since when they are signed in, when they were last used, and a box to end each session."""
        rows = [
            (
                info.client,
                *(localize(localtime(at)) for at in (info.signed_in_at, info.last_used_at)),
                info.handle,
                _("End"),
            )
            for info in sessions().of_user(str(user.pk))
        ]
        return format_html_join("", _ROW, rows) or "-"

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Also end the sessions whose boxes are ticked."""
        for handle in request.POST.getlist("_end_session"):
            if sessions().revoke(handle, user=str(obj.pk)):
                self.log_change(request, obj, "Ended a session.")
        return super().response_change(request, obj)

    @admin.action(description=_("End all sessions"), permissions=["change"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """End every session of the selected users."""
        ended = sum(sessions().revoke_user(str(user.pk)) for user in queryset)
        self.message_user(request, f"Ended {ended} sessions.")
