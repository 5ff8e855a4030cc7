"""One load of a view's URL: render it, renew what is stored if the view says that it still holds.

Made on any thread; run by the engine. Knows the site and the render; must not know how a caller
waits or what he is answered.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from flask import Flask

from .codec import Answer, Entry
from .emission import Emission
from .flight import Fate, Flight, Load, Loaded
from .inputs import Inputs
from .keys import VariantKey, ViewKey
from .render import Rendering, Target
from .site import Site


@dataclass(frozen=True, slots=True)
class ViewLoad:
    """What a load of a URL needs. ``inputs`` is what its caller brings, and outlives him.

    ``scoped``: the render sees all that the caller sent.
    """

    app: Flask  # a site holds it weakly
    site: Site
    key: ViewKey
    target: Target
    inputs: Inputs
    scoped: bool = False

    def load(self, where: Hashable) -> Load:
        """As the engine has it; ``where`` is the key under which the answer lies by now."""
        target = self.target
        sync = not target.is_async or target.plan.blocking
        run: Callable[[Flight], Any] = self._on_thread if sync else self._on_loop
        return Load(where, target.name, target.plan.times, run, sync, self.under)

    def under(self, names: tuple[str, ...]) -> tuple[Hashable, str]:
        """The key where these inputs are read, and why the caller must pass; see `Load`."""
        values, why = self.inputs.under(names)
        if why:
            kind = self.target.plan.rules.kind
            self.target.notes.passes(self.inputs.carried(names), kind)
        return VariantKey(self.key, names, values), why

    def _on_thread(self, flight: Flight) -> Loaded:
        flight.on_pass = None if flight.trial else self._note_passed
        rendering = self._rendering(flight, self._prior(flight))
        loaded = rendering.blocking() if self.target.is_async else rendering.on_thread()
        if rendering.repeat:
            rendering = self._rendering(flight, None)
            loaded = rendering.blocking() if self.target.is_async else rendering.on_thread()
        return loaded if flight.trial else self._noted(rendering, loaded)

    async def _on_loop(self, flight: Flight) -> Loaded:
        flight.on_pass = None if flight.trial else self._note_passed
        rendering = self._rendering(flight, self._prior(flight))
        loaded = await rendering.on_loop()
        if rendering.repeat:
            rendering = self._rendering(flight, None)
            loaded = await rendering.on_loop()
        return loaded if flight.trial else self._noted(rendering, loaded)

    def _rendering(self, flight: Flight, prior: Entry | None) -> Rendering:
        store = self.site.store
        return Rendering(
            self.app, self.key, self.site.base, self.target, flight, self.inputs,
            scoped=self.scoped, prior=prior, still=lambda: store.glance(flight.key),
        )  # fmt: skip

    def _prior(self, flight: Flight) -> Entry | None:
        """What is stored, if its view set validators by which it can be asked about it."""
        entry = self.site.store.glance(flight.key)
        if entry is None or not isinstance(entry.value, Answer):
            return None
        return entry if Emission.validators(entry.value) else None

    def _note_passed(self, detail: str) -> None:
        """Also of a load that never ends: an endless stream must not be tried at every URL."""
        self.site.sharing.note_passed(self.key.view, self.key, detail)

    def _noted(self, rendering: Rendering, loaded: Loaded) -> Loaded:
        """Tell the site where nobody can share because of what is read, and where one can."""
        if loaded.fate is Fate.PASS and rendering.never:
            where = self.under(loaded.names)[0] if loaded.names else self.key
            self.site.sharing.note_passed(self.key.view, where, loaded.detail)
        elif loaded.fate is Fate.STORE:
            self.site.sharing.note_shared(self.key.view)
        return loaded
