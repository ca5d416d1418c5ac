"""Which objects were made since, and are still held? Older ones may go at any time, whoever lets go of them."""

import gc
import weakref


class Made:
    """Objects of some kinds that are made from now on."""

    def __init__(self, *kinds):
        self.kinds = kinds
        self.before = {id(thing): weakref.ref(thing) for thing in self._alive()}

    def held(self):
        """How many there still are."""
        return sum(id(thing) not in self.before or self.before[id(thing)]() is not thing for thing in self._alive())

    def _alive(self):
        gc.collect()
        return [thing for thing in gc.get_objects() if issubclass(type(thing), self.kinds)]
