"""Make the tables of Django's database, and its users."""

import django
from django.core.management import call_command

from examples.one_session.settings import PASSWORD, USERS

if __name__ == "__main__":
    django.setup()
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0)
    for name, key in USERS.items():
        User.objects.create_user(name, password=PASSWORD, pk=key)
