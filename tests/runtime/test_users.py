"""Users and groups by their names."""

import os
import pwd

from registry_cache.runtime.users import name_of_group, name_of_user

NOBODYS = 54321


def test_names_where_the_machine_has_them_and_numbers_elsewhere() -> None:
    assert (name_of_user(0), name_of_group(0)) == ("root", "root")
    assert name_of_user() == pwd.getpwuid(os.geteuid()).pw_name
    assert (name_of_user(NOBODYS), name_of_group(NOBODYS)) == ("54321", "54321")
