"""A foreign config, key by key: each is honoured, translated, ignored or refused, and what became of it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeGuard

from tpn.config.hints import did_you_mean
from tpn.config.overrides import WHERE
from tpn.config.section import Section
from tpn.config.settings import Compat

Verdict = Literal["honoured", "translated", "ignored"]
SHOWN = 60  # characters of a value in a message
MAX_ITEMS = 100  # of a list of steps or hooks


class Told(NamedTuple):
    """What became of one key of the foreign file."""

    key: str
    verdict: Verdict
    note: str = ""
    notable: bool = False
    """Whether results differ from the reference's, or may surprise."""


class Place(NamedTuple):
    """One of the places where a foreign file says what is said once here."""

    key: str
    value: Any
    line: str
    written: bool
    """False: the file does not say it, and this is the reference's default."""
    leads: bool = False
    """Whether the other places give way to it where the file contradicts itself."""


@dataclass
class Translation:
    """A foreign config on its way to our settings."""

    path: str
    version: Literal[0, 1]
    """Of MMAction2: 0.x or 1.x."""
    compat: Compat = field(default_factory=Compat)
    """Which bugs of the reference `--cfg-options` asks to restore."""
    normalized_on_gpu: bool = False
    settings: Section = field(default_factory=Section)
    """Our sections; each key has the foreign file's line."""
    told: dict[str, Told] = field(default_factory=dict)
    """By key."""
    problems: list[str] = field(default_factory=list)
    facts: dict[str, list[Place]] = field(default_factory=dict)
    opened: list[Foreign] = field(default_factory=list)

    def open(self, section: Section, path: str, line: str) -> Foreign:
        """A section of the file to be read; `close` finds the keys that nobody has asked for."""
        foreign = Foreign(section, path, line, self)
        self.opened.append(foreign)
        return foreign

    def put(self, to: str, value: Any, line: str) -> None:
        """Set one of our settings, by its dotted path."""
        *around, name = to.split(".")
        section = self.settings
        for key in around:
            if key not in section:
                section.put(key, Section(), line)
            section = section[key]
        section.put(name, value, line)

    def tell(self, key: str, verdict: Verdict, note: str = "", *, notable: bool = False) -> None:
        """Say what became of a key; a key that is told twice keeps both notes."""
        before = self.told.get(key)
        if before is not None:
            verdict = verdict if note else before.verdict
            note = "; ".join(dict.fromkeys(filter(None, (before.note, note))))
            notable = notable or before.notable
        self.told[key] = Told(key, verdict, note, notable)

    def problem(self, line: str, key: str, sentence: str) -> None:
        self.problems.append(f"{line}: {key}: {sentence}")

    def close(self) -> None:
        """Settle the facts, and refuse the keys that nobody has asked for."""
        for to, places in self.facts.items():
            self.settle(to, places)
        for foreign in self.opened:
            for key in (key for key in foreign.section if key not in foreign.asked):
                known = self.neighbour(foreign, key) or did_you_mean(key, map(str, foreign.asked))
                value = shown(foreign.section[key])
                self.problem(foreign.where(key), foreign.name(key), f"unknown key (value {value}){known}")

    def neighbour(self, foreign: Foreign, key: Any) -> str:
        """Which item of the same list has the key: an index in `--cfg-options` is easily one off."""
        around, _, index = foreign.path.rpartition(".")
        items = [item for item in self.opened if index.isdecimal() and item.path.rpartition(".")[0] == around]
        return next(
            (f"; did you mean {item.name(key)}?" for item in items if key in item.asked & item.section.keys()), ""
        )

    def settle(self, to: str, places: list[Place]) -> None:
        """One fact from several places: --cfg-options wins over the file; a file that contradicts itself is refused."""
        written = [place for place in places if place.line == WHERE] or places
        winner = next((place for place in written if place.leads), written[0])
        others = [place for place in written if plain(place.value) != plain(winner.value)]
        if others and not winner.leads:
            differing = ", ".join(f"{place.key} is {shown(place.value)} ({place.line})" for place in others)
            keys = " ".join(f"{place.key}=VALUE" for place in places)
            sentence = f"{shown(winner.value)}, but {differing}; one setting here: --cfg-options {keys}"
            self.problem(winner.line, winner.key, sentence)
            return
        self.put(to, winner.value, winner.line)
        for place in places:
            if plain(place.value) != plain(winner.value):
                note = f"{shown(place.value)} gives way to {winner.key} = {shown(winner.value)}: one setting here"
                self.tell(place.key, "translated", note, notable=True)
            elif place.written:
                self.tell(place.key, "honoured")

    # ------------------------------------------------------------------------------------------------------ for people

    def summary(self) -> str:
        """A few lines: how many keys became what, and whatever may surprise."""
        counts = ", ".join(
            f"{sum(told.verdict == verdict for told in self.told.values())} {verdict}"
            for verdict in ("honoured", "translated", "ignored")
        )
        keys: dict[str, list[str]] = {}  # by note
        for told in self.told.values():
            if told.notable:
                keys.setdefault(told.note, []).append(told.key)
        notes = [f"  {', '.join(names)}: {note}" for note, names in keys.items()]
        return "\n".join([f"{self.path} is an MMAction2 {self.version}.x config; its keys: {counts}", *notes])

    def table(self) -> str:
        """Key by key, one line each."""
        width = max(map(len, self.told), default=0)
        rows = sorted(self.told.values())
        return "\n".join(f"{told.key:<{width}}  {told.verdict:<10}  {told.note}".rstrip() for told in rows)


@dataclass
class Foreign:
    """One `dict(...)` of a foreign file, at a dotted path; its reader accounts for each key by one of its verbs."""

    section: Section
    path: str
    line: str
    translation: Translation
    asked: set[Any] = field(default_factory=set)

    def name(self, key: Any) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def where(self, key: Any) -> str:
        return self.section.lines.get(key, self.line)

    def take(self, key: str, default: Any = None) -> Any:
        """The value, to be judged and told by the caller."""
        self.asked.add(key)
        return self.section.get(key, default)

    def honour(self, key: str, to: str | None = None, *, default: Any = ...) -> Any:
        """Set our setting of the same meaning (and name, without `to`); `default` is the reference's."""
        value = self.take(key, default)
        if value is not ...:
            self.translation.put(to or self.name(key), value, self.where(key))
        if key in self.section:
            self.tell(key, "honoured")
        return value

    def translate(self, key: str, to: str, value: Any, note: str = "", *, notable: bool = False) -> None:
        """Set our setting to what the key's value means there; without a note, that is the same but for the form."""
        self.asked.add(key)
        self.translation.put(to, value, self.where(key))
        if key in self.section:
            self.tell(key, "translated" if note else "honoured", note, notable=notable)

    def fact(self, key: str, to: str, value: Any, *, leads: bool = False) -> None:
        """One of several places that must agree."""
        self.asked.add(key)
        place = Place(self.name(key), value, self.where(key), key in self.section, leads)
        self.translation.facts.setdefault(to, []).append(place)

    def only(self, key: str, *allowed: Any, fix: str = "") -> None:
        """A key of which other values would change the result and are not supported."""
        if key not in self.section:
            self.asked.add(key)
        elif any(plain(self.take(key)) == plain(value) for value in allowed):
            self.tell(key, "honoured")
        else:
            takes = " or ".join(map(shown, allowed))
            self.refuse(key, f"{shown(self.section[key])} is not supported, only {takes}{fix and '; ' + fix}")

    def ignore(self, why: str, *keys: str, notable: bool = False) -> None:
        for key in keys:
            self.asked.add(key)
            if key in self.section:
                self.tell(key, "ignored", why, notable=notable)

    def required(self, key: str, *, fix: str = "") -> None:
        if key not in self.section:
            self.refuse(key, f"missing{fix and '; ' + fix}")

    def forgo(self) -> None:
        """Leave the rest unread, where reading on would only say more of what is already wrong."""
        self.asked.update(self.section)

    def refuse(self, key: str, sentence: str) -> None:
        self.asked.add(key)
        self.translation.problem(self.where(key), self.name(key), sentence)

    def child(self, key: str) -> Foreign:
        """The section under a key; an empty one where there is none, or None."""
        value = self.take(key)
        if value is not None and not isinstance(value, Section):
            self.refuse(key, f"expected a section, dict(...), got {shown(value)}")
        section = value if isinstance(value, Section) else Section()
        if key in self.section and not section:
            self.tell(key, "honoured")
        return self.translation.open(section, self.name(key), self.where(key))

    def children(self, key: str) -> list[Foreign]:
        """The sections of a list under a key."""
        value = self.take(key, [])
        if not (isinstance(value, Sequence) and all(isinstance(item, Section) for item in value)):
            self.refuse(key, f"expected a list of dict(...), got {shown(value)}")
            return []
        if len(value) > MAX_ITEMS:
            self.refuse(key, f"has {len(value)} items; at most {MAX_ITEMS} make sense")
            return []
        return [
            self.translation.open(item, f"{self.name(key)}.{index}", next(iter(item.lines.values()), self.where(key)))
            for index, item in enumerate(value)
        ]

    def tell(self, key: str, verdict: Verdict, note: str = "", *, notable: bool = False) -> None:
        self.translation.tell(self.name(key), verdict, note, notable=notable)


def plain(value: Any) -> Any:
    """A value to compare by: [1, 7] is (1, 7), and where something was written does not matter."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return value


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def is_positive(value: Any) -> TypeGuard[int]:
    """A positive integer of a size that makes sense."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**6
