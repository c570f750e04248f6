"""The sessions of a user, in the admin of the users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from coatcheck.frameworks.django.configuration import sessions

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

__all__ = ["SessionsOfUser"]

_ROW = '<p>{} <small>{} – {}</small> <button formaction="../sessions/{}/end/" formnovalidate>{}</button></p>'


class SessionsOfUser(_Base):
    """``class MyUserAdmin(SessionsOfUser, UserAdmin)``: staff who may change a user see his devices, and end sessions."""

    actions: Any = ("end_sessions",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """The field of the sessions, too."""
        return [*super().get_readonly_fields(request, obj), "sessions"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """A section for the sessions, too."""
        shown = [(_("Sessions"), {"fields": ["sessions"]})]
        return [*super().get_fieldsets(request, obj), *(shown if obj is not None else [])]

    @admin.display(description=_("devices"))
    def sessions(self, user: Any) -> str:
        """The devices, since when they are signed in, when they were last used, and a button to end each session."""
        infos = sessions().of_user(str(user.pk))
        shown = [
            (info, localize(localtime(info.signed_in_at)), localize(localtime(info.last_used_at)))
            for info in infos
        ]
        rows = [(info.client, since, last, info.handle, _("End")) for info, since, last in shown]
        return format_html_join("", _ROW, rows) or "-"

    @admin.action(description=_("End all sessions"), permissions=["change"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """End every session of the selected users."""
        ended = sum(sessions().revoke_user(str(user.pk)) for user in queryset)
        self.message_user(request, f"Ended {ended} sessions.")

    def get_urls(self) -> list[Any]:
        """The address of the button, too."""
        end = self.admin_site.admin_view(self.end_session)
        return [path("<path:pk>/sessions/<handle>/end/", end), *super().get_urls()]

    def end_session(self, request: HttpRequest, pk: str, handle: str) -> HttpResponse:
        """End one session of a user."""
        user = self.get_object(request, pk)
        if user is None or not self.has_change_permission(request, user):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if sessions().revoke(handle, user=str(user.pk)):
            self.log_change(request, user, "Ended a session.")
        return HttpResponseRedirect("../../../change/")
