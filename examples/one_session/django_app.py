"""Django, under gunicorn: its own users, its own login and logout views, its own messages."""

from django.contrib import messages
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_POST

from coatcheck.frameworks.django import get_session
from examples.one_session.page import page


def home(request):
    texts = [message.message for message in messages.get_messages(request)]
    token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    return HttpResponse(page("Django", get_session(request), texts, name=request.user.username, token=token))


@require_POST
def note(request):
    request.session["note"] = request.POST.get("note", "")
    request.session["notes"] = request.session.get("notes", 0) + 1
    messages.info(request, "Noted in Django.")
    return redirect("/")


urlpatterns = [
    path("django/", home),
    path("django/note", note),
    path("django/sign-in", LoginView.as_view(template_name="sign_in.html")),
    path("django/sign-out", LogoutView.as_view()),
]
