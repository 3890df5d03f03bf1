"""A release from its limits to a verdict: run or read, compare, judge, tell everybody.

Whatever breaks on the way is told in the same places, as an error: no output of a check looks like
a pass that is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganaudit import baselines, gates
from ganaudit.baselines import Baseline
from ganaudit.config import CheckConfig, DiagnoseConfig
from ganaudit.descriptors import Descriptor
from ganaudit.errors import ConfigError, complaint
from ganaudit.files import is_file, shown_path
from ganaudit.finished import Basis, Finished, check_sizes
from ganaudit.gates import Gate, Limit
from ganaudit.generators import Source
from ganaudit.pipeline import diagnose
from ganaudit.planning import plan
from ganaudit.report import check_outputs, checked, gate_words, words
from ganaudit.runner import Progress, silent
from ganaudit.same_place import compare
from ganaudit.sequential import ALPHA
from ganaudit.settings import source_file
from ganaudit.slots import SHARD
from ganaudit.store import write_json
from ganaudit.watching import ANCHORS, Watch

Say = Callable[[str], None]
_LIMITS = ("max", "min", "max_increase", "max_decrease", "baseline")  # settings


@dataclass(frozen=True)
class Checked:
    """The result of `check`.

    Attributes:
      document: as written to check.json.
      folder: of the run that was checked.
    """

    document: dict[str, Any]
    folder: Path

    @property
    def exit_code(self) -> int:
        """0 pass, 1 a gate failed, 4 inconclusive."""
        return int(self.document["exit_code"])


def check(
    config: CheckConfig,
    request: DiagnoseConfig | None = None,
    *,
    source: Source | None = None,
    descriptor: Descriptor | None = None,
    progress: Progress = silent,
    notice: Say = lambda text: None,
    annotate: Say = lambda text: None,
    summary: Path | None = None,
) -> Checked:
    """Hold a release to its gates.

    Args:
      config: the gates, and where the verdict is told.
      request: the diagnosis to run; None: `config.run` names a finished one.
      source: as of `diagnose`.
      descriptor: as of `diagnose`.
      progress: as of `diagnose`.
      notice: told a sentence now and then, before the start the samples that each gate needs.
      annotate: takes GitHub's workflow commands, a line each.
      summary: GitHub's step summary; None: there is none.

    Returns:
      The verdict, which is also in check.json in the run's folder and in every output.

    Raises:
      GanauditError: whatever ends the audit; the outputs then say so.
    """
    _forget(config, request)
    try:
        found = _Check(config, notice)
        run = found.run(request, source=source, descriptor=descriptor, progress=progress)
        document = found.document(run)
        write_json(run.folder / checked.NAME, document)
    except Exception as error:  # it is raised again; until then nothing must look like a pass
        break_off(config, error, notice=notice, annotate=annotate, summary=summary)
        raise
    check_outputs.write(document, config.outputs, summary=summary, say=annotate)
    return Checked(document, run.folder)


def break_off(
    config: CheckConfig,
    error: Exception,
    *,
    notice: Say = lambda text: None,
    annotate: Say = lambda text: None,
    summary: Path | None = None,
) -> None:
    """Say in every place that a check has no verdict, whatever an earlier one said there.

    Args:
      config: where it is told.
      error: what ended the check; the caller raises it.
      notice: told why that could not be said somewhere.
      annotate: as of `check`.
      summary: as of `check`.
    """
    _forget(config, None)
    document = checked.broken(
        error, inconclusive=config.inconclusive, limits_file=_limits_file(config)
    )
    try:
        check_outputs.write(document, config.outputs, summary=summary, say=annotate)
    except Exception as second:  # which must not hide the first
        notice(complaint(second))


def outlook(config: CheckConfig, request: DiagnoseConfig) -> dict[str, Any]:
    """What `check` would do: as `planning.plan` has it, and what its gates need.

    Raises:
      GanauditError: whatever would stop the check at its start.
    """
    opened = _Check(config, lambda text: None)
    request = opened.sized(request)
    return plan(request, expected=opened.expected) | {"gates": opened.needs(request)}


def _forget(config: CheckConfig, request: DiagnoseConfig | None) -> None:
    """Remove what an earlier check said in the same places: it must not outlive this one's end."""
    paths = [path for _, path in config.outputs if path is not None]
    folder = config.run
    if request is not None and request.resume:
        folder = request.out
    if folder is not None:
        paths.append(folder / checked.NAME)
    for path in filter(is_file, paths):
        try:
            path.unlink(missing_ok=True)
        except OSError:  # nothing that can be replaced: writing will say so
            continue


def _limits_file(config: CheckConfig) -> str | None:
    """The file in which limits stand; None: none does."""
    files = (source_file(config.origins.get(name, "")) for name in _LIMITS)
    return next((file for file in files if file is not None), None)


class _Check:
    """What a request for a check names, opened."""

    def __init__(self, config: CheckConfig, notice: Say) -> None:
        self._config, self._notice = config, notice
        self._limits = gates.parse(
            max=config.max,
            min=config.min,
            max_increase=config.max_increase,
            max_decrease=config.max_decrease,
            baseline=config.baseline is not None,
        )
        self._baseline = None if config.baseline is None else baselines.read(config.baseline)
        if config.rarefy and self._baseline is None:
            raise ConfigError("--rarefy needs a --baseline, to whose size the release is cut")
        if not config.until_decided and config.origins.get("max_samples") == "flag":
            raise ConfigError("--max-samples is the most that --until-decided may draw: say both")
        self._watch = Watch(self._limits, most=config.max_samples) if config.until_decided else None

    @property
    def expected(self) -> Basis | None:
        """What a run must have in common with the baseline."""
        return None if self._baseline is None else self._baseline.basis

    def run(
        self,
        request: DiagnoseConfig | None,
        *,
        source: Source | None,
        descriptor: Descriptor | None,
        progress: Progress,
    ) -> Finished:
        """The run that is checked: made now, or finished before."""
        watch = self._watch
        if request is not None:
            request = self.sized(request)
            for sentence in self.needs(request):
                self._notice(sentence)
            audit = diagnose(
                request,
                source=source,
                descriptor=descriptor,
                watch=watch,
                expected=self.expected,
                progress=progress,
                notice=self._notice,
            )
            return Finished.read(audit.folder)
        if self._config.run is None:
            raise ConfigError("name what is checked: a finished RUN, or --generator")
        run = Finished.read(self._config.run)
        if watch is not None:
            watch.most = min(watch.most, run.basis.samples)
            watch.begin(run.store, run.scale, anchors=run.basis.anchors)
            watch.enough()
        return run

    def document(self, run: Finished) -> dict[str, Any]:
        """The verdict on a run."""
        config, baseline = self._config, self._baseline
        if baseline is not None:
            run = self._equal(run, baseline)
        if self._watch is not None:
            found = self._watch.gates()
        else:
            there = None if baseline is None else baseline.figures
            found = [gates.judge(limit, run.figures, there) for limit in self._limits]
        verdict = gates.verdict_of([gate.verdict for gate in found])
        return checked.build(
            verdict=verdict,
            exit_code=gates.exit_code_of(verdict, inconclusive=config.inconclusive),
            inconclusive=config.inconclusive,
            gates=[gate_words.figures(gate, needed=self._needed(gate.limit)) for gate in found],
            same_place=None if baseline is None else self._grown(run, baseline),
            sequential=None if self._watch is None else self._sequential(self._watch, found),
            run=checked.of_run(run.report, folder=shown_path(run.folder)),
            baseline=None
            if baseline is None or config.baseline is None
            else {
                "file": shown_path(config.baseline),
                "generator": baseline.generator,
                "anchors": baseline.figures.anchors,
                "samples": baseline.figures.samples,
            },
            limits_file=_limits_file(config),
            warnings=[*run.report["warnings"], *run.report["screen"]["findings"]],
        )

    def needs(self, request: DiagnoseConfig) -> list[str]:
        """The samples that each gate needs, a sentence each."""
        planned = None if self._watch is not None else request.samples
        return [gate_words.needs(limit, self._needed(limit), planned) for limit in self._limits]

    def sized(self, request: DiagnoseConfig) -> DiagnoseConfig:
        """A request with the sizes that its gates ask for, where nobody named others."""
        if request.part is not None:
            raise ConfigError(
                "a part of a run has no verdict: make the parts with diagnose --shard, unite them "
                "with merge, and check the RUN"
            )
        anchors, samples = request.anchors, request.samples
        open_ = {name for name in ("anchors", "samples") if request.origins.get(name) == "default"}
        if self._watch is not None:
            if request.origins.get("samples") == "flag":
                raise ConfigError("--until-decided draws as many as it takes: say --max-samples")
            anchors = ANCHORS if "anchors" in open_ else anchors
            samples = self._watch.most
        elif self._baseline is not None:
            basis = self._baseline.basis
            anchors = basis.anchors if "anchors" in open_ else anchors
            samples = basis.samples if "samples" in open_ else samples
        return replace(request, anchors=anchors, samples=samples)

    def _needed(self, limit: Limit) -> int | None:
        baseline = self._baseline
        return gates.samples_needed(limit, None if baseline is None else baseline.figures)

    def _equal(self, run: Finished, baseline: Baseline) -> Finished:
        """A run at the baseline's size."""
        run.basis.check(baseline.basis, here=str(run.folder), there=str(self._config.baseline))
        there = baseline.figures
        if self._config.rarefy:
            run = run.rarefied(anchors=there.anchors, samples=there.samples)
        check_sizes(
            run.figures,
            there,
            remedy="with more of them here --rarefy cuts the release to the baseline's size, with "
            f"fewer audit it with --anchors {baseline.basis.anchors} --samples "
            f"{baseline.basis.samples}",
        )
        return run

    def _grown(self, run: Finished, baseline: Baseline) -> dict[str, Any] | None:
        modes = baseline.modes
        if modes is None:
            return None
        relative = {limit.figure.name: limit.value for limit in self._limits if limit.relative}
        tolerance = relative.get("worst-rate", gates.TOLERANCE)
        now = baselines.count_again(modes, run.store, run.scale, samples=run.basis.samples)
        return checked.grown(
            compare(modes.anchors, modes.counts, now, tolerance=tolerance), tolerance=tolerance
        )

    def _sequential(self, watch: Watch, found: Sequence[Gate]) -> dict[str, Any]:
        open_ = [gate.limit.figure.name for gate in found if watch.decided_at(gate.limit) is None]
        after = f"after {words.counted(watch.looked, 'sample')}"
        if not open_:
            said = f"Decided {after}."
        elif watch.verdict == "fail":
            said = f"Ended {after}, when a gate failed; not decided: {', '.join(open_)}."
        else:
            more = (
                "--max-samples" if self._config.run is None else "--generator, --resume and --out"
            )
            said = f"Not decided {after}: {', '.join(open_)}; more may decide ({more})."
        return {
            "alpha": ALPHA,
            "looked_every": SHARD,
            "max_samples": watch.most,
            "samples": watch.looked,
            "sentence": f"{said} The intervals allow for having looked all along; with 2.5 % for "
            "each end, where a verdict has 5 %, they may just hold a limit that was decided.",
        }
