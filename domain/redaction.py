r"""Make error text safe to store and to send.

The rules, in the order in which they are applied:

===================  =====================================================  ==================
rule                 example                                                becomes
===================  =====================================================  ==================
terminal sequences   ``ESC[31mred ESC[0m``                                  ``red``
line ends            CR LF, CR, NEL, U+2028, U+2029                         newline
control characters   C0 and C1 but newline and tab; bidi overrides          removed
lone surrogates      ``\ud800``                                             U+FFFD
private keys         a PEM block, also one that is cut off                  ``***``
URL credentials      ``redis://user:pw@host/0``                             ``redis://***@host/0``
key and value        ``DB_PASSWORD=x``, ``"token": "x"``, ``?token=x&a=1``  ``DB_PASSWORD=***``
option and value     ``--password x``                                       ``--password ***``
bearer tokens        ``Bearer abcdefgh12345678``                            ``Bearer ***``
absolute paths       ``/a/b.py``, ``~/x``, ``C:\x``, ``\\host\x``           ``<path>``
===================  =====================================================  ==================

When in doubt a value is masked: of ``invalid token: expected`` the last word goes, and everything
between quotes goes if it starts like a path. Four things are sure to be harmless and stay:
relative paths, URLs without credentials, a secret's name without ``=`` or ``:`` after it
(``token count: 5``), and a number under a name that counts (``max_tokens=5``).

Text is masked first and cut afterwards, so no cut leaves half a secret.
"""

import re
from collections.abc import Callable
from functools import cache

__all__ = [
    "MAX_MESSAGE",
    "MAX_TRACEBACK",
    "WINDOW",
    "mask_secrets",
    "sanitise",
    "sanitise_traceback",
]

MAX_MESSAGE = 1024
"""Length of a sanitised message, in characters."""

MAX_TRACEBACK = 16 * 1024
"""Size of a sanitised traceback, in bytes of UTF-8."""

WINDOW = 64 * 1024
"""How much of a raw text is read, in characters. It is far more than what is kept, because masks
shrink text, and it bounds the work that a huge text causes. Where it cuts, the broken word (message)
or line (traceback) is left out: a secret that lost its end or its name would not be recognised."""

_ELLIPSIS = "…"
_MASK = "***"
_PATH = "<path>"
_PASSES = 8  # two do for nearly every text; none is known that needs more than three


def sanitise(text: str, limit: int = MAX_MESSAGE) -> str:
    """Return an error message without control characters, paths and secrets. Never raises.

    Args:
        text: Any string. Lone surrogates are allowed.
        limit: The greatest length of the result, in characters. Zero or less gives an empty string.

    Returns:
        The beginning of the masked text, with an ellipsis as its last character if it was cut.
        It can be encoded as UTF-8, and sanitising it again with the same limit changes nothing.

    >>> sanitise("cannot open '/home/ann/my file.csv' with password=hunter2")
    "cannot open '<path>' with password=***"
    >>> sanitise("no answer from postgresql://ann:hunter2@db:5432/runs")
    'no answer from postgresql://***@db:5432/runs'
    >>> sanitise("too many words", limit=9)
    'too many…'
    """
    window = max(WINDOW, 4 * limit)
    if len(text) > window:
        words = text[:window].rsplit(maxsplit=1) or [""]
        text = f"{words[0]} {_ELLIPSIS}"
    return _settle(text, lambda masked: _keep_beginning(masked, limit))


def sanitise_traceback(text: str) -> str:
    """Return a traceback without control characters, paths and secrets. Never raises.

    Returns:
        The end of the masked text, which names the error, with an ellipsis as its first character
        if it was cut: at most ``MAX_TRACEBACK`` bytes of UTF-8. Sanitising it again changes nothing.

    >>> sanitise_traceback('File "/srv/app/jobs.py", line 3, in load')
    'File "<path>", line 3, in load'
    """
    if len(text) > WINDOW:
        text = text[-WINDOW:]
        # A line break further down is in the part that is kept: there only the broken word goes.
        line_break = text.find("\n", 0, WINDOW - MAX_TRACEBACK)
        words = text.split(maxsplit=1) or [""]
        text = _ELLIPSIS + (text[line_break:] if line_break >= 0 else words[-1])
    return _settle(text, _keep_end)


def _settle(text: str, cut: Callable[[str], str]) -> str:
    """Mask and cut until nothing changes, so that a second call finds nothing to do.

    A cut may spoil what was harmless: ``src/app`` cut to ``…/app`` looks like an absolute path. Text
    that never comes to rest is given up for a bare ellipsis; none is known.
    """
    for _ in range(_PASSES):
        result = cut(_mask(text))
        if result == text:
            return result
        text = result
    return cut(_ELLIPSIS)


def _keep_beginning(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - 1] + _ELLIPSIS if limit > 0 else ""


def _keep_end(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= MAX_TRACEBACK:
        return text
    room = MAX_TRACEBACK - len(_ELLIPSIS.encode())
    return _ELLIPSIS + encoded[-room:].decode(errors="ignore")


def _later(pattern: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Compiled when it is first called: all together take some milliseconds, which most processes need not spend."""
    return cache(lambda: re.compile(pattern, flags))


# How the patterns stay linear: a name is tried only where it starts (a lookbehind), runs are possessive
# (`++`) or have nothing behind them that could fail, and a lookahead inside a run is bounded. Only a run
# of single characters is possessive: Python before 3.11.5 matches too little with a possessive group.

_TERMINAL = _later(
    r"""
      (?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*+(?:\x07|\x1b\\|\x9c)  # titles, links
    | (?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?                                                # colours, cursor
    | \x1b[ -/]*[0-~]?                                                                 # the rest
    """,
    re.VERBOSE,
)
_LINE_END = _later("\r\n?|[\x85\u2028\u2029]")
_CONTROL = _later("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = _later("[\ud800-\udfff]")

_PEM_LABEL = r"[A-Z0-9 ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----"
_PRIVATE_KEY = _later(
    rf"""
      -----BEGIN[ ]{_PEM_LABEL}.*?(?:-----END[ ]{_PEM_LABEL}|\Z)  # whole, or without its end
    | (?<![\w+/=\s\\])[\w+/=\s\\]*+-----END[ ]{_PEM_LABEL}           # without its beginning
    """,
    re.VERBOSE | re.DOTALL,
)

_URL_CREDENTIALS = _later(
    r"""
    (?<=://)(?:
      [^\s/?#]*@                                          # up to the last @ before the path
    | [^\s/?#@:\[]*:(?!\d{1,5}[/?#])[^\s@]{0,512}@        # a password with a raw / ? or #, but no port
    )
    """,
    re.VERBOSE,
)

_SENSITIVE_NAME = r"""(?:
    pass(?:word|wd|phrase) | [_-]pass(?![\w-]) | pwd | secret(?!ary) | token(?!i[sz]) | authorization
  | credential | amz-signature | (?:api|access|account|auth|private|secret|signing)[ _.-]?key
)"""
# A quote that is never closed reaches to the end of the line.
_QUOTED = r"""(?:"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?)+"""
_WORD = r"""(?:
    [^\s,;&'"`)\]}>]
  | [,;&'"`)\]}>]++(?=\S)(?![\w.-]{1,64}['"]?[ ]?[=:])  # punctuation inside the word, but not `,name=`
)+"""
_ONE_VALUE = rf"""(?:
    [bfru]{{0,2}}{_QUOTED}
  | (?:(?:apikey|basic|bearer|digest|negotiate|token)[ \t]++)?{_WORD}
)"""
_VALUE = rf"(?P<value>{_ONE_VALUE}(?:(?<=[:=])[ \t]++{_ONE_VALUE})*)"  # `password: token: x` is one value
_KEY_VALUE = _later(
    rf"""
    (?P<key>(?<=[?&])(?:code|key|sig)(?==) | (?<![\w.-])(?=[\w.-]*?{_SENSITIVE_NAME})[\w.-]++(?:[ ]key)?)
    (?P<link>\\*+['"]?[\])]?[ \t]*+(?:=>|:=|={{1,2}}|:)[ \t]*+(?:\\++(?=['"]))?)
    {_VALUE}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPTION_VALUE = _later(
    rf"""(?<![\w.-])(?P<key>--(?=[\w-]*?{_SENSITIVE_NAME})[\w-]++)(?P<link>['"]?,?[ \t]++)(?!['"]?-){_VALUE}""",
    re.VERBOSE | re.IGNORECASE,
)
_COUNTING_NAME = _later(
    r"(?:tokens|secrets|(?<![a-z])(?:age|count|expires|length|limit|max|min|size|total|ttl))(?![a-z])",
    re.IGNORECASE,
)
_OPENING_QUOTE = _later(r"""[bfru]{0,2}(["'])""", re.IGNORECASE)
_NUMBER = _later(r"\d[\d_.,]*+\W*+")
_BEARER = _later(r"\b(Bearer[ \t]+)[\w.~+/=-]{16,}", re.IGNORECASE)

_PATH_END = r"""\s"'`<>|:,;()\[\]{}"""
_PATH_CHAR = rf"""[^{_PATH_END}] | [,;()\[\]{{}}]++(?=[^{_PATH_END}])(?![\w.-]{{1,64}}=)"""
_SPACE_INSIDE = r"""[ ](?=[^\\/:*?"'<>|\n]{1,40}\\)"""  # C:\Program Files\x
_WINDOWS_ROOT = r"""(?:
    (?<!\w)[A-Za-z]:[\\/]++
  | (?<![\w\\])\\{2,}+[\w.?$-]++\\++(?:[A-Za-z]:[\\/]++)?
)(?=[\w.@%$~])"""
_POSIX_ROOT = r"""(?:
    (?<!\w)file:/++
  | (?<![\w~./])~(?:[A-Za-z_][\w-]*+)?/
  | (?<![\w./\\)\]}*+$%~<])/++
  | (?<=<)/(?=[\w.-]{1,64}/)                              # </usr/include/x.h>, but not </div>
  | (?<=[\s'"]-[A-Za-z])/                                 # -I/usr/include
)(?=[\w.@%$~])"""
_ROOT = f"(?:{_WINDOWS_ROOT}|{_POSIX_ROOT})"
_ABSOLUTE_PATH = _later(
    rf"""
      (?P<quoted>"{_ROOT}[^"\n]*+" | '{_ROOT}[^'\n]*+' | `{_ROOT}[^`\n]*+`)
    | (?P<local>:///)(?=[/~]|[A-Za-z]:[\\/])(?:[A-Za-z]:)?(?:{_PATH_CHAR})*      # sqlite:////a/b.db
    | {_WINDOWS_ROOT}(?:{_PATH_CHAR}|{_SPACE_INSIDE})*
    | {_POSIX_ROOT}(?:[A-Za-z]:)?(?:{_PATH_CHAR})*
    | (?P<url>://(?:[^\s"'<>,;]|[,;](?![/~]))*)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def mask_secrets(text: str) -> str:
    """Return the text without control characters and secrets; paths stay. Never raises, cuts nothing.

    For what is no error text and needs its paths, such as the arguments of a command.

    >>> mask_secrets("pg_dump --file=/srv/dump.sql postgresql://ann:hunter2@db/runs")
    'pg_dump --file=/srv/dump.sql postgresql://***@db/runs'
    """
    text = _TERMINAL().sub("", text)
    text = _LINE_END().sub("\n", text)
    text = _CONTROL().sub("", text)
    text = _SURROGATE().sub("\ufffd", text)
    text = _PRIVATE_KEY().sub(_MASK, text)
    text = _URL_CREDENTIALS().sub(f"{_MASK}@", text)
    text = _KEY_VALUE().sub(_mask_value, text)
    text = _OPTION_VALUE().sub(_mask_value, text)
    return _BEARER().sub(rf"\1{_MASK}", text)


def _mask(text: str) -> str:
    mark = _ELLIPSIS if text.endswith(_ELLIPSIS) else ""  # of a cut: no part of a secret
    return _ABSOLUTE_PATH().sub(_mask_path, mask_secrets(text.removesuffix(mark))) + mark


def _mask_value(match: re.Match[str]) -> str:
    key, link, value = match.group("key", "link", "value")
    if _NUMBER().fullmatch(value) and _COUNTING_NAME().search(key):
        return match[0]
    opened = _OPENING_QUOTE().match(value)
    if opened is None:
        return f"{key}{link}{_MASK}"
    closing = opened[1] if value.endswith(opened[1], opened.end()) else ""
    return f"{key}{link}{opened[1]}{_MASK}{closing}"


def _mask_path(match: re.Match[str]) -> str:
    if match["url"]:
        return match[0]
    quote = match[0][0] if match["quoted"] else ""
    full_stop = match[0][len(match[0].rstrip(".!?…")) :]
    return f"{match['local'] or ''}{quote}{_PATH}{quote}{full_stop}"
