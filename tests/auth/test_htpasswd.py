"""An htpasswd file as operators write it, what is told of one that is wrong, and when it is read again."""

from __future__ import annotations

import os
from pathlib import Path

import bcrypt
import pytest

from registry_cache.auth import htpasswd
from registry_cache.auth.users import CHECK_SECONDS, Users, read

SALT = "." * 53
GOOD = f"$2y$05${SALT}"


def test_users_comments_and_blank_lines() -> None:
    text = f"\ufeff# who may pull\r\n\r\nalice:{GOOD}\r\n  bob:$2b$12${SALT}  \n\n#eve:{GOOD}\ncarl:$2a$04${SALT}"

    assert htpasswd.parse(text.encode()) == {
        b"alice": GOOD.encode(),
        b"bob": f"$2b$12${SALT}".encode(),
        b"carl": f"$2a$04${SALT}".encode(),
    }


def test_names_are_bytes() -> None:
    assert list(htpasswd.parse(b"\xe9\xff:" + GOOD.encode())) == [b"\xe9\xff"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nobody\n"])
def test_nobody(content: bytes) -> None:
    assert htpasswd.parse(content) == {}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("alice", "is no user:hash"),
        (f":{GOOD}", "has no user name"),
        ("alice:", "is not hashed by bcrypt"),
        ("alice:secret", "is not hashed by bcrypt"),
        ("alice:$apr1$salt$hashhashhashhashhash", "is not hashed by bcrypt"),
        ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "is not hashed by bcrypt"),
        (f"alice:$2x$05${SALT}", "is not hashed by bcrypt"),
        (f"alice:$2y$5${SALT}", "is not hashed by bcrypt"),
        (f"alice:$2y$05${'.' * 21}A{'.' * 31}", "is not hashed by bcrypt"),
        (f"alice:$2y$05${SALT[1:]}", "is not hashed by bcrypt"),
        (f"alice:{GOOD}:more", "is not hashed by bcrypt"),
        (f"alice:$2y$03${SALT}", "has a cost that is not 4 to 17"),
        (f"alice:$2y$31${SALT}", "has a cost that is not 4 to 17"),
        (f"first:{GOOD}", "names a user of line 1 again"),
    ],
)
def test_a_line_that_cannot_be(line: str, what: str) -> None:
    with pytest.raises(htpasswd.MalformedFile) as caught:
        htpasswd.parse(f"first:{GOOD}\n{line}\n".encode())

    (fault,) = caught.value.faults
    assert (fault.line, fault.what.partition(" (")[0]) == (2, what)
    hidden = line.partition(":")[2] or line
    assert hidden not in str(caught.value)


def test_the_first_few_are_told() -> None:
    with pytest.raises(htpasswd.MalformedFile, match=r"^line 1 is no user:hash, .*line 5 is no user:hash, and 4 more$"):
        htpasswd.parse(b"x\n" * 9)


@pytest.mark.parametrize("sign", [bytes([code]) for code in range(33, 127)])
def test_what_is_taken_the_library_can_compare_with(sign: bytes) -> None:
    salted = b"alice:$2y$04$" + b"." * 21 + sign + b"." * 31
    try:
        (stored,) = htpasswd.parse(salted).values()
    except htpasswd.MalformedFile:
        return
    assert bcrypt.checkpw(b"secret", stored) is False


def test_nobody_knows_the_password_of_a_dummy_hash() -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4, b"2a"))

    assert htpasswd.dummy_hash(stored).startswith(b"$2a$04$")
    assert not bcrypt.checkpw(b"secret", htpasswd.dummy_hash(stored))


def test_only_a_file_of_a_sane_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        read(tmp_path / "pipe")
    (tmp_path / "image").write_bytes(b"#" * (htpasswd.MAX_FILE_SIZE + 1))
    with pytest.raises(ValueError, match="larger than"):
        read(tmp_path / "image")


class File:
    """An htpasswd file and a clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "htpasswd"
        self.seconds = 1000.0

    def write(self, text: str, age: float = 100.0) -> None:
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, (self.seconds - age, self.seconds - age))

    def clock(self) -> float:
        return self.seconds

    def users(self) -> Users:
        return Users(self.path, {b"before": GOOD.encode()}, self.clock, self.clock)

    def names(self, users: Users, after: float = CHECK_SECONDS) -> list[bytes]:
        self.seconds += after
        return list(users.hashes())


@pytest.fixture
def file(tmp_path: Path) -> File:
    file = File(tmp_path)
    file.write(f"alice:{GOOD}")
    return file


def test_a_change_is_seen_a_second_later(file: File) -> None:
    users = file.users()
    file.write(f"alice:{GOOD}\nbob:{GOOD}")

    assert file.names(users, CHECK_SECONDS / 2) == [b"alice"]
    assert file.names(users, CHECK_SECONDS / 2) == [b"alice", b"bob"]


def test_a_file_that_is_being_written_is_left_alone(file: File) -> None:
    users = file.users()
    file.write("", age=-CHECK_SECONDS)

    assert file.names(users) == [b"alice"]
    file.write(f"bob:{GOOD}", age=0)
    assert file.names(users) == [b"bob"]


def test_a_broken_file_leaves_who_was_there_and_is_told_once(file: File, caplog: pytest.LogCaptureFixture) -> None:
    users = file.users()
    file.write("alice:secret")
    assert [file.names(users) for _ in range(3)] == [[b"alice"]] * 3
    file.path.unlink()
    assert file.names(users) == [b"alice"]

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert {record.message for record in caplog.records} == {
        "the htpasswd file cannot be used: the users of before stay"
    }
    assert "secret" not in str([vars(record) for record in caplog.records])
    file.write(f"bob:{GOOD}")
    assert file.names(users) == [b"bob"]


def test_an_emptied_file_lets_nobody_in(file: File, caplog: pytest.LogCaptureFixture) -> None:
    users = file.users()
    file.write("")

    assert file.names(users) == []
    assert caplog.records[0].levelname == "ERROR"


def test_a_worker_that_begins_with_a_broken_file_has_the_users_of_the_start(file: File) -> None:
    file.write("nonsense")
    users = file.users()

    assert file.names(users) == [b"before"]
    file.write(f"alice:{GOOD}", age=0)
    assert file.names(users) == [b"alice"]
