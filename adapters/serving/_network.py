"""How do the steps of many requests become few calls of the network?"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from spectral_forecast.adapters._session import Form, Resumable
from spectral_forecast.adapters.serving._batches import alike, called, chunks, concatenate, items, split
from spectral_forecast.adapters.serving._turn import Turn

__all__ = ["Network"]


class Network:
    """The network that all requests share, called in batches."""

    def __init__(
        self,
        model: Callable[..., Any],
        at: str,
        *,
        most: int | None,
        key: Callable[[Any], Hashable],
        collate: Callable[[Sequence[Any]], Any],
        split: Callable[[Any, Sequence[Any]], list[Any]],
    ) -> None:
        self.model = model
        self.name = getattr(model, "__name__", type(model).__name__)
        self.at = at
        self.most = most
        self.key = key
        self.collate = collate
        self.split = split
        self.calls = 0
        self._place = Resumable(self.name)

    def run(self, turns: Sequence[Turn]) -> None:
        """Fill in the turns' outputs and features."""
        for turn in turns:
            turn.extrapolate()
        for turn in turns:  # apart, so that an accelerator is waited for once
            if not turn.sound:
                turn.forecast = None
                turn.restart("its forecast was not finite")
        resumed = [turn for turn in turns if turn.forecast is not None]
        evaluated = [turn for turn in turns if turn.forecast is None]
        for chunk in chunks(evaluated, lambda turn: self.key(turn.inputs), lambda turn: items(turn.inputs), self.most):
            self._told(chunk, self._evaluate)
        if self.at == "output":
            for turn in resumed:
                turn.output = turn.form.build(turn.forecast)
            return
        features = {turn: turn.form.build(turn.forecast) for turn in resumed}
        both = chunks(
            resumed, lambda turn: (self.key(turn.inputs), alike(features[turn])), lambda t: items(t.inputs), self.most
        )
        for chunk in both:
            self._told(chunk, lambda chunk: self._resume(chunk, [features[turn] for turn in chunk]))

    def _told(self, chunk: list[Turn], work: Callable[[list[Turn]], None]) -> None:
        """Work on a batch; an error names the requests that were in it."""
        try:
            work(chunk)
        except Exception as error:
            error.add_note("In one batch: " + ", ".join(repr(turn.request) for turn in chunk))
            raise

    def _evaluate(self, chunk: list[Turn]) -> None:
        inputs = [turn.inputs for turn in chunk]
        batch = self.collate(inputs)
        if self.at == "output":
            for turn, part in zip(chunk, self._parts(self._call(batch), inputs), strict=True):
                form, feature = Form.of(part)
                turn.arrive(part, feature, form)
            return
        evaluation = self._place.evaluate(lambda **feature: self._call(batch, **feature))
        parts = self._parts(evaluation.result, inputs)
        features = split(evaluation.feature, inputs)
        for turn, part, feature in zip(chunk, parts, features, strict=True):
            turn.arrive(part, feature, evaluation.form)

    def _resume(self, chunk: list[Turn], features: list[Any]) -> None:
        inputs = [turn.inputs for turn in chunk]
        output, _ = self._call(self.collate(inputs), feature=concatenate(features))
        for turn, part in zip(chunk, self._parts(output, inputs), strict=True):
            turn.output = part

    def _call(self, batch: Any, **feature: Any) -> Any:
        self.calls += not feature
        return called(self.model, batch, **feature)

    def _parts(self, output: Any, inputs: list[Any]) -> list[Any]:
        parts = list(self.split(output, inputs))
        if len(parts) != len(inputs):
            raise ValueError(f"`split` returned {len(parts)} parts of {len(inputs)} requests; write one for each.")
        return parts
