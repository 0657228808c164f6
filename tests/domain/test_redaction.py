"""What may leave the process in an error text, and what may not."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lastword.domain import redaction
from lastword.domain.redaction import MAX_MESSAGE, MAX_TRACEBACK, sanitise, sanitise_traceback

UNCHANGED = [
    "",
    "plain words, a full stop. And a question?",
    "line one\n\tline two",
    "naïve café 日本語 🎉",
    "a lone / stays, and so does '/' in quotes",
    "and/or, 3/4, 24/7, I/O, N/A, km/h, text/html, */*",
    "on 2026/11/23 at 10:30",
    "src/app/main.py, ./run.sh, ../lib/x.py and .venv/bin",
    "cron: */5 * * * *",
    "about ~3/4 of it, +/-5, ~/ alone, C:\\ alone",
    "old~new/x",
    "<br/> and </div>",
    "$HOME/data and ${HOME}/data",
    "// a comment",
    "see https://example.com/a/b.html?x=/etc/hosts#top, please",
    "postgresql://db.example.com:5432/runs",
    "redis://cache:6379/0 and amqp://broker/vhost",
    "http://host:8080/@user and https://example.com/@user/post",
    "http://[::1]:8080/x@y",
    "sqlite:///:memory: and sqlite:///runs.db and hdfs:///user/x",
    "mail bob@example.com",
    "token count: 5",
    "max_tokens=5, total_tokens: 1,024, tokens=7",
    '{"usage":{"prompt_tokens":5,"token_limit":4096}}',
    "too long (max_tokens=4096).",
    "--max-tokens 5",
    "password_length: 8",
    "tokenizer=fast secretary=Ann",
    "unexpected token < in JSON",
    "password is wrong",
    "password=",
    "/?token=&x=1",
    "the bearer of news; Bearer authentication failed",
]

PATHS = [
    ("/home/x/y.py", "<path>"),
    ("cannot open /home/x/y.py.", "cannot open <path>."),
    ("is it /a/b? no", "is it <path>? no"),
    ("/home/x/y.py:12: error", "<path>:12: error"),
    ("(/home/x/y.py) [/tmp] {/a/b}", "(<path>) [<path>] {<path>}"),
    ("PATH=/usr/bin:/opt/bin", "PATH=<path>:<path>"),
    ("/srv/data (1)/x", "<path> (1)/x"),
    ("/srv/a(1)/secret.txt gone", "<path> gone"),
    ("open(/a/b,mode=3)", "open(<path>,mode=3)"),
    ("[Errno 2] No such file: '/home/x y/z.txt'", "[Errno 2] No such file: '<path>'"),
    ('File "/a/b.py", line 3, in f', 'File "<path>", line 3, in f'),
    ('`/a b/c` and "/o\'brien/x y"', '`<path>` and "<path>"'),
    ("unclosed '/home/x y", "unclosed '<path> y"),
    ("can't read '/a/b' isn't it", "can't read '<path>' isn't it"),
    ("~/x and ~bob/notes", "<path> and <path>"),
    ("C:\\Users\\x\\y.txt: denied", "<path>: denied"),
    ("c:/Users/x", "<path>"),
    ("C:\\Program Files (x86)\\App\\a.exe not found", "<path> not found"),
    ("'C:\\\\Users\\\\x y'", "'<path>'"),
    ("\\\\server\\share\\x", "<path>"),
    ("'\\\\\\\\server\\\\share'", "'<path>'"),
    ("\\\\?\\C:\\x", "<path>"),
    ("//server/share/x", "<path>"),
    ("file:///home/x", "<path>"),
    ("FILE://localhost/etc/hosts", "<path>"),
    ('"file:///C:/a b"', '"<path>"'),
    ("sqlite:////home/x/runs.db", "sqlite:///<path>"),
    ("sqlite:///C:/x/runs.db locked", "sqlite:///<path> locked"),
    ("https://example.com/a,/home/x", "https://example.com/a,<path>"),
    ("host:/export/home", "host:<path>"),
    ("cmd 2>/var/log/x <file:///a> </usr/include/x.h>", "cmd 2><path> <<path>> <<path>>"),
    ("gcc -I/opt/inc -L/opt/lib", "gcc -I<path> -L<path>"),
    ("“/home/x”", "“<path>"),
    ("/данные/файл", "<path>"),
]

URL_CREDENTIALS = [
    ("https://bob:pw@example.com/a/b", "https://***@example.com/a/b"),
    ("postgresql://u:p@ss@db:5432/runs", "postgresql://***@db:5432/runs"),
    ("postgresql://u:p/s#s@db/runs", "postgresql://***@db/runs"),
    ("redis://:pw@cache:6379/0", "redis://***@cache:6379/0"),
    ("https://ghp_abc@github.com/x.git", "https://***@github.com/x.git"),
    ("mongodb://u:p@h1:1,h2:2/db", "mongodb://***@h1:1,h2:2/db"),
    ("mysql+pymysql://u:p@h/db?charset=utf8", "mysql+pymysql://***@h/db?charset=utf8"),
    ("'amqp://u:p@h/v', retry", "'amqp://***@h/v', retry"),
    ("https://h/a?token=abc&x=1", "https://h/a?token=***&x=1"),
    ("https://h/a?x=1&api_key=a%2Fb", "https://h/a?x=1&api_key=***"),
    ("https://h/a?key=abc&sig=x%3D", "https://h/a?key=***&sig=***"),
    ("https://h/a?X-Amz-Signature=abc&x=1", "https://h/a?X-Amz-Signature=***&x=1"),
]

SECRETS = [
    *[
        (f"{key}=hunter2 end", f"{key}=*** end")
        for key in (
            "password",
            "PASSWORD",
            "passwd",
            "pwd",
            "secret",
            "token",
            "api_key",
            "api-key",
            "apikey",
            "access_key",
            "aws_secret_access_key",
            "DB_PASSWORD",
            "github_token",
            "dbPassword",
            "db_pass",
            "clientSecret",
            "private_key",
            "AccountKey",
            "passphrase",
            "password_hash",
            "X-Api-Key",
            "settings.password",
            "--token",
            "credentials",
            "api key",
        )
    ],
    ("?token=abc&x=1", "?token=***&x=1"),
    ("password: hunter2, user: bob", "password: ***, user: bob"),
    ("password = hunter2", "password = ***"),
    ("password=>hunter2", "password=>***"),
    ("password=12345", "password=***"),
    ("password=a,b;c&d)e'f\"g end", "password=*** end"),
    ("PWD=x;Server=db", "PWD=***;Server=db"),
    ("connect(password=abc)", "connect(password=***)"),
    ("'dsn: password=abc' failed", "'dsn: password=***' failed"),
    ("{'password': 'x', 'user': 'bob'}", "{'password': '***', 'user': 'bob'}"),
    ('{"token":"a b","user":"bob"}', '{"token":"***","user":"bob"}'),
    ('{"dsn":"password=x","b":1}', '{"dsn":"password=***","b":1}'),
    ('"password": "it\\"s here" end', '"password": "***" end'),
    ("password='it''s' end", "password='***' end"),
    ("{'password': 'it\\'s here', 'a': 1}", "{'password': '***', 'a': 1}"),
    ("password=abc,user = bob", "password=***,user = bob"),
    ("password=b'a b', c", "password='***', c"),
    ('password="""a b""" end', 'password="***" end'),
    ("password=b'a b' end", "password='***' end"),
    ("password='never closed\nnext", "password='***\nnext"),
    ('password="', 'password="***'),
    ("password=rb'a b' end", "password='***' end"),
    ('{\\"password\\": \\"a b\\"}', '{\\"password\\": \\"***'),
    ("os.environ['DB_PASSWORD'] = 'a b'", "os.environ['DB_PASSWORD'] = '***'"),
    ("Authorization: Bearer abc.def", "Authorization: ***"),
    ("authorization: Basic dTpw failed", "authorization: *** failed"),
    ("{'Authorization': 'Bearer abc'}", "{'Authorization': '***'}"),
    ("sent Bearer abcdefgh12345678 there", "sent Bearer *** there"),
    ("wrong password: token: abc", "wrong password: ***"),
    ("error: password: 'a b'", "error: password: '***'"),
    ("tokens=abc", "tokens=***"),
    ("max_tokens='5'", "max_tokens='***'"),
    ("mysql --password hunter2 -v", "mysql --password *** -v"),
    ("['mysql', '--password', 'a b', '-v']", "['mysql', '--password', '***', '-v']"),
    ("--token --verbose", "--token --verbose"),
    ("password=/home/x", "password=***"),
    ("Key (api_token)=(abc) already exists.", "Key (api_token)=***) already exists."),
    (
        "Config(user='bob', password='x y', host='h')",
        "Config(user='bob', password='***', host='h')",
    ),
    (
        "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY----- b",
        "a *** b",
    ),
    ("-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----", "***"),
    ("a -----BEGIN OPENSSH PRIVATE KEY-----\nMIIE\nabc", "a ***"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx: y\n-----END PGP PRIVATE KEY BLOCK----- b", "*** b"),
    ("x: 1\nMIIE\nabc=\n-----END PRIVATE KEY----- b", "x:*** b"),
]

CONTROLS = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x9b1;31mred\x1b(B\x1bM", "red"),
    ("\x1b]8;;https://h\x1b\\link\x1b]8;;\x07 end", "link end"),
    ("\x1bPdevice\x1b\\end", "end"),
    ("\x9d0;title\x9cend", "end"),
    ("\x1b]0;never closed", "0;never closed"),
    ("half \x1b[31", "half "),
    ("a\x00b\x07c\x7fd\x80e\x9f", "abcde"),
    ("a\r\nb\rc\td\u2028e\x85f", "a\nb\nc\td\ne\nf"),
    ("a\u202eb\u2066c\u2069\u202a", "abc"),
    ("a\ud800b\udfff", "a\ufffdb\ufffd"),
    ("pass\x00word=abc", "password=***"),
    ("/ho\x1b[0mme/x", "<path>"),
]


@pytest.mark.parametrize("text", UNCHANGED)
def test_harmless_text_stays(text):
    """What is no path, no secret and no control character comes out as it went in."""
    assert (text, text) == (sanitise(text), sanitise_traceback(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    PATHS + URL_CREDENTIALS + SECRETS + CONTROLS,
    ids=lambda value: ascii(value)[:60],
)
def test_what_must_go_is_masked(text, expected):
    """Paths, credentials, secrets and control characters are masked in messages and tracebacks alike."""
    assert (expected, expected) == (sanitise(text), sanitise_traceback(text))


def test_a_long_message_keeps_its_beginning():
    """A cut message has exactly the limit and ends in an ellipsis."""
    assert sanitise("a" * (MAX_MESSAGE + 1)) == "a" * (MAX_MESSAGE - 1) + "…"


def test_a_message_of_exactly_the_limit_is_not_cut():
    """The limit itself still fits."""
    assert sanitise("a" * MAX_MESSAGE) == "a" * MAX_MESSAGE


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, ""), (-1, ""), (1, "…"), (2, "h…"), (5, "hello")]
)
def test_a_caller_can_set_the_limit(limit, expected):
    """A limit counts characters, the ellipsis included; none is left for zero or less."""
    assert expected == sanitise("hello", limit)


def test_a_long_traceback_keeps_its_end():
    """A cut traceback starts with an ellipsis, ends with the error, and fits the limit in bytes."""
    for end in (
        "\nValueError: no",
        "\nIndexError: out",
    ):  # the cut goes between two letters, and through one
        result = sanitise_traceback("é" * MAX_TRACEBACK + end)
        assert (result[:2], result.lstrip("…é")) == ("…é", end)
        assert MAX_TRACEBACK - 1 <= len(result.encode()) <= MAX_TRACEBACK


def test_a_traceback_of_exactly_the_limit_is_not_cut():
    """The limit itself still fits, counted in bytes."""
    text = "é" * (MAX_TRACEBACK // 2)
    assert text == sanitise_traceback(text)


def test_masking_comes_before_cutting():
    """A secret that would straddle the limit is masked whole, so no half of it is left."""
    text = "a" * (MAX_MESSAGE - 12) + " password=hunter2-hunter2"
    assert sanitise(text) == "a" * (MAX_MESSAGE - 12) + " password=*…"


@pytest.mark.parametrize(
    ("secret", "lead"),
    [
        ("https://bob:hunter2@h/", 15),
        ("password='hunter2 hunter2' ", 20),
        ("'/home/hunter2/x' ", 9),
    ],
)
def test_very_long_input_leaves_no_half_secret(secret, lead):
    """Only a window of a huge text is read; a secret across its edge does not show, at either end."""
    pem = (
        "-----BEGIN PRIVATE KEY-----\n"
        + "A" * (redaction.WINDOW - 55 - lead)
        + "\n-----END PRIVATE KEY-----\n"
    )
    message = sanitise(pem + secret + "z" * redaction.WINDOW)
    traceback = sanitise_traceback(
        "z" * redaction.WINDOW + "\n" + secret[:lead] + secret[lead:] + "\n" + pem
    )
    assert [text for text in (message, traceback) if "hunter2" in text] == []
    assert (message[:3], message[-1]) == ("***", "…")


def test_a_huge_text_is_marked_as_cut_even_if_the_masked_part_is_short():
    """What lies outside the window is missing, so the ellipsis says so."""
    key = "-----BEGIN PRIVATE KEY-----" + "A" * 60_000 + "-----END PRIVATE KEY-----"
    assert sanitise(f"{key} rest " + "z" * 70_000) == "*** rest …"
    assert sanitise("-----BEGIN PRIVATE KEY-----\n" + "A\n" * 50_000) == "***…"
    assert sanitise_traceback("z" * 70_000 + "\n\nlast " + key) == "…\n\nlast ***"


def test_a_huge_last_line_loses_its_broken_word_and_nothing_else():
    """Where no early line break helps, the window starts at a whole word."""
    assert sanitise_traceback("password=" + "d" * 70_000 + " end") == "…end"
    assert len(sanitise_traceback("ab " * 30_000 + "\nlast")) == MAX_TRACEBACK - 2
    end = "z" * (redaction.WINDOW - 10) + " end"
    assert sanitise_traceback("broken" + " " + end).endswith("zzz end")


def test_a_large_limit_reads_more():
    """A caller who asks for more than the window gets it."""
    assert sanitise("a" * 200_000, 100_000) == "a" * 99_999 + "…"
    assert (
        sanitise(
            "-----BEGIN PRIVATE KEY-----" + "A" * 70_000 + "-----END PRIVATE KEY----- b", 20_000
        )
        == "*** b"
    )


def test_what_changes_through_the_cut_is_settled():
    """A cut that makes a relative path look absolute is followed by another look, not by giving up."""
    rest = "z" * (MAX_TRACEBACK - len("…/cccccc ".encode()))
    assert sanitise_traceback(f"source/cccccc {rest}") == f"…<path> {rest}"


def test_the_mark_of_a_cut_is_no_part_of_a_secret():
    """The ellipsis stays when the cut falls right behind a mask, so that the reader knows of it."""
    assert sanitise("token:5<')'", 10) == "token:***…"


FRAGMENTS = [
    "/", "//", "://", ":///", "\\", "\\\\", "~", "C:", "file:", "home", "a", "x y", " ", "\n", "\t", "\r",
    '"', "'", "`", "=", ":", ",", ";", "&", "?", "@", "#", "<", ">", "<path>", "***", "…", ")", "(", "]", "[",
    "{", "}", "|", ".", "-", "--", "-I", "password", "token", "tokens", "max_", "api key", "Bearer ", "5", "sig",
    "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "\x1b", "\x1b[", "m", "\x07", "\x00", "\ud800",
    "\u202e", "é", "🎉", "b'", "authorization: ", "https://", "u:p@h",
]  # fmt: skip
NASTY = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=40).map(
    "".join
)
ANY_TEXT = st.one_of(
    NASTY,
    st.text(st.characters(codec=None)),
    st.builds(lambda t, n: t * n, NASTY, st.integers(1, 60)),
)


@given(ANY_TEXT, st.integers(0, 80))
@example("token:5<')'", 10)
def test_a_second_time_changes_nothing_for_any_limit(text, limit):
    """Sanitised text is final, short enough and can be written as UTF-8, whatever went in."""
    once = sanitise(text, limit)
    assert once == sanitise(once, limit)
    assert len(once) <= limit
    assert once == once.encode("utf-8").decode("utf-8")


@given(ANY_TEXT)
def test_a_second_time_changes_nothing_for_the_default_limits(text):
    """The same holds for whole messages and for tracebacks, whose limit is in bytes."""
    message, traceback = sanitise(text), sanitise_traceback(text)
    assert (message, traceback) == (sanitise(message), sanitise_traceback(traceback))
    assert (len(message) <= MAX_MESSAGE, len(traceback.encode()) <= MAX_TRACEBACK) == (True, True)


@given(ANY_TEXT)
def test_no_control_character_survives(text):
    """Only newline and tab are left of the control characters."""
    kept = {
        char
        for char in sanitise(text)
        if char < " " or "\x7f" <= char <= "\x9f" or "\u202a" <= char <= "\u202e"
    }
    assert set() == kept - {"\n", "\t"}


@given(NASTY)
def test_the_rules_settle(text):
    """Giving up for a bare ellipsis is a last resort: what stands before any strange text is kept."""
    assert sanitise(f"kept!\n{text}").startswith("kept!")


@given(st.text(st.characters(categories=["Ll", "Nd"]), min_size=6), NASTY)
def test_a_quoted_password_never_shows(secret, around):
    """Whatever follows it, a quoted password is masked."""
    assert f"password='q{secret}z'" not in sanitise(f"password='q{secret}z'{around}")


UNITS = [
    "a/", "/", "/a ", "\\", "\\\\a\\", "=", "password=", "password", "password: ", "password ", "token,", "'", '"',
    "'/a ", "\"/'", "password='", "a", " ", "a://b:c/", "://", "://:", "a@", "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----", "\x1b]", "\x1b[0", "\x1b", ",(", "~a", "C:\\a ", "--token ", "api key ", "-", "A ",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_hostile_text_of_a_megabyte_takes_no_time(unit):
    """The work is bounded by the window and linear inside it; a quadratic rule takes minutes here."""
    text = unit * (1_000_000 // len(unit))
    begun = time.perf_counter()
    sanitise(text)
    sanitise_traceback(text)
    assert time.perf_counter() - begun < 10
