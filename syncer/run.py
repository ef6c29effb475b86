"""One run, a straight line: read, map, compare, judge, push, remember, close.

`Engine.diff` stops after judge; it is the same path. What all runs of a process share is in `workshop`, what one is
asked and comes to in `account`.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import structlog

from syncer.account import Options, Prepared, Report, count_unsent, facts_of, log_line, measures_of, tell_span
from syncer.batches import batch_of, estimate
from syncer.brakes import judge, judge_allowance
from syncer.calculator import calculator, temporary_folder
from syncer.candidates import HashesCollide
from syncer.compare import compare, slots_of
from syncer.control import EMPTY, Approval, Control, Standing
from syncer.delivered import not_logged
from syncer.delivery import Delivery
from syncer.destination import Destination
from syncer.errors import (
    NotDue,
    Problem,
    StateDamaged,
    Stopping,
    SyncBusy,
    SyncerError,
    UserError,
    cause_of,
)
from syncer.history import note, tidy
from syncer.logs import place_of
from syncer.mapping import Sync
from syncer.narrowed import Read
from syncer.plan import Hold, Plan, identity_text
from syncer.pushing import Pauses
from syncer.source import asked_by
from syncer.spans import seconds_of
from syncer.stages import Stages
from syncer.state import Inputs, State, look_again
from syncer.tally import Delivered
from syncer.verdict import canary_of, refuse_another, rest, verdict, waits
from syncer.workshop import Workshop

log = structlog.get_logger(__name__)


class Engine(Workshop):
    """The runs of one process."""

    def prepare_all(self, syncs: Sequence[Sync], *, trigger: str | None = None) -> list[Prepared]:
        """Prepare several; every problem of all of them at once, before anything is sent for any.

        With `trigger` it is runs that begin here, and those that cannot are in the journal as failed.
        """
        prepared: list[Prepared] = []
        problems: list[Problem] = []
        for sync in syncs:
            try:
                prepared.append(self.prepare(sync))
            except SyncerError as error:
                if trigger is not None:
                    self.refused(sync, error, trigger)
                if not isinstance(error, UserError):
                    raise
                problems += error.problems
        if problems:
            # One locked warehouse is one problem, however many syncs read from it.
            raise UserError(dict.fromkeys(problems))
        return prepared

    def refused(
        self,
        sync: Sync,
        error: SyncerError,
        trigger: str,
        by: str | None = None,
        is_due: Callable[[Control], bool] | None = None,
    ) -> None:
        """Write a run that could not begin into the journal as a failed one, so that `status` tells of it.

        Raises nothing: where the state cannot be written, or another process has the sync, the error that is on its
        way is all there is to tell.
        """
        if isinstance(error, SyncBusy | NotDue | Stopping):
            return
        with contextlib.suppress(SyncBusy, StateDamaged):
            with self.control().exclusively(sync.name) as control:
                if is_due and not is_due(control):
                    return
                control.recover(sync.name)
                kept = self.config.service.keep_runs
                run_id = control.begin_run(sync.name, identity_text(sync), trigger, by=by, kept=kept)
                counts = Delivered(planned=0).counts
                report = Report(sync, run_id, "failed", Delivered(planned=0), error=str(error), cause=cause_of(error))
                facts = {"trigger": trigger, **({"by": by} if by else {}), "cause": report.cause}
                control.finish_run(run_id, result="failed", counts=counts, error=report.error, facts=facts)
            self._finished(report)

    @contextlib.contextmanager
    def diff(self, prepared: Prepared, only: Sequence[str] = ()) -> Iterator[Plan]:
        """The plan, judged; nothing is sent and no state moves. Its file lives as long as the context."""
        with temporary_folder("syncer-") as folder:
            plan = self._look(prepared, folder, only)
            control = Control.look(self.config.state)
            try:
                plan.holds = self._judge(plan)
                plan.holds += self._waits(plan, control)[0]
            finally:
                if control:
                    control.close()
            plan.cost = estimate(plan, prepared.destination)
            yield plan

    def run(
        self, prepared: Prepared, options: Options | None = None, progress: Callable[[int], None] | None = None
    ) -> Report:
        """One whole run. Raises SyncBusy, NotDue, StateDamaged and Stopping when it could not begin; everything else is
        in the report."""
        if self.stop.is_set():
            raise Stopping
        options = options or Options()
        sync = prepared.sync
        started = time.monotonic()
        state = self.state(sync.name)
        with self.control().exclusively(sync.name) as control:
            if options.is_due and not options.is_due(control):
                raise NotDue(f"{sync.name} was run by another process meanwhile.")
            prepared.destination.transport.confirm_first(control.confirm)
            control.recover(sync.name)
            state.clean(control)
            self.note(state, control, sync)
            undoes = options.planner.undoes if options.planner else None
            run_id = control.begin_run(
                sync.name, identity_text(sync), options.trigger, undoes, by=options.by, request=options.request,
                is_partial=bool(options.only or options.planner),
                kept=self.config.service.keep_runs,
            )  # fmt: skip
            stages = Stages(sync=sync.name, destination=sync.destination, trigger=options.trigger)
            report = Report(sync, run_id, "failed", Delivered(planned=0), stages=stages)
            try:
                with asked_by(run_id), stages.run() as span:
                    self._straight(prepared, state, control, report, options, progress or (lambda done: None))
                    tell_span(span, report)
            except SyncerError as error:
                report.result, report.error, report.cause = "failed", str(error), cause_of(error)
                self._recover(control, prepared, report, options)
            except Exception as error:
                report.result, report.cause = "failed", cause_of(error)
                report.error = f"Syncer's fault: {type(error).__name__} in {place_of(error)}."
                self._recover(control, prepared, report, options)
                self._finished(report)
                raise
            finally:
                prepared.destination.transport.close()
            report.requests = prepared.destination.transport.requests
            report.seconds = time.monotonic() - started
            self._log_delivered(state, control, report)
        log_line(report)
        self._finished(report)
        return report

    def _recover(self, control: Control, prepared: Prepared, report: Report, options: Options) -> None:
        """Close a run that was broken off, as the journal knows it: it has the outcomes that were remembered."""
        undoes = {"undoes": options.planner.undoes} if options.planner else {}
        by = {"by": options.by} if options.by else {}
        facts = {"trigger": options.trigger, **undoes, **by, **measures_of(prepared, report)}
        # A store that refuses this too is told of by the next run, when it recovers.
        with contextlib.suppress(StateDamaged):
            control.recover(report.sync.name, report.error or "", facts)
            run = control.run(report.run) if report.run else None
            if run is not None:
                report.delivered = Delivered(
                    planned=run.planned, accepted=run.accepted, rejected=run.rejected, deferred=run.deferred,
                    unsent=run.unsent,
                )  # fmt: skip

    # --- the line --------------------------------------------------------------------------------------------

    def _straight(
        self,
        prepared: Prepared,
        state: State,
        control: Control,
        report: Report,
        options: Options,
        progress: Callable[[int], None],
    ) -> None:
        sync, run_id = prepared.sync, report.run
        assert run_id is not None  # noqa: S101 - a run that is begun has a number
        standing = control.register(sync.name, identity_text(sync), [one.name for one in sync.compared])
        assert standing.sync_id is not None  # noqa: S101 - a registered sync has a number
        sync_id = standing.sync_id
        has_taken_up = self._take_up(prepared, state, control, sync_id)
        if standing.plans:
            # What a killed process could not take in any more.
            self.fold(state, control, prepared)
        if has_taken_up or standing.plans:
            standing = control.standing(sync.name)
        inputs = self.inputs(state, control, standing)
        if options.planner:
            with report.stages.stage("compare"):
                plan = options.planner.plan(prepared, inputs, state, control, state.fresh("plan"))
        else:
            plan = self._plan(prepared, inputs, state.fresh("plan"), options.only, state, report.stages)
        report.expense = plan.expense
        canary = canary_of(control, sync, options.digest) if options.continues else None
        refuse_another(plan, canary, options.digest)
        with report.stages.stage("judge"):
            judged = self.judge_alone(plan) if options.planner else self._judge(plan)
            holds = [*judged, *self._allowed(plan, prepared.destination, options.records_max)]
        decided = verdict(holds, *self._waits(plan, control), canary, is_released=options.release)
        control.unpark(sync.name, plan.forgotten)
        if decided.is_held:
            report.holds, report.result = list(decided.holds), "held"
            report.delivered = Delivered(planned=plan.sendable, unsent=plan.sendable)
            count_unsent(plan, report.delivered)
            plan.file.unlink()
            facts = {
                "holds": [asdict(hold) for hold in report.holds],
                **facts_of(plan, options),
                **measures_of(prepared, report),
            }  # fmt: skip
            counts = report.delivered.counts
            control.finish_run(run_id, result="held", counts=counts, facts=facts, digest=plan.digest)
            return
        report.released = decided.released
        if not (options.only or options.planner) and plan.gone != inputs.gone:
            # A run that was held saw a source that nobody trusts, so it does not count as one in which rows were gone.
            control.note_gone(sync_id, plan.gone)
        state.keep(plan.file)
        plan_id = control.begin_plan(
            run_id, sync_id, plan.file.name, plan.total, plan.sendable, plan.digest, report.released,
            approval=decided.approval.id if decided.approval else None, saved=options.saved,
        )  # fmt: skip
        report.delivered = Delivered(planned=plan.sendable, unsent=plan.sendable)
        delivery = Delivery(
            plan, plan_id, sync_id, prepared.destination, control, self.stop, options.records_max, progress,
            self._pauses, report.stages,
        )  # fmt: skip
        with report.stages.stage("push"):
            report.delivered = delivered = delivery.deliver()
        count_unsent(plan, delivered)
        report.error, report.cause = delivered.error, delivered.cause
        report.result = "failed" if delivered.error else "done"
        is_complete = report.result == "done" and not delivered.deferred and not delivered.unsent
        control.finish_run(
            run_id,
            result=report.result,
            counts=delivered.counts,
            requests=prepared.destination.transport.requests,
            error=delivered.error,
            facts={
                **facts_of(plan, options),
                **rest(plan, options.records_max, report.released),
                **measures_of(prepared, report),
            },
            plan_id=plan_id,
            versions=plan.versions if is_complete and not options.only else None,
        )
        self.fold(state, control, prepared)

    def _waits(self, plan: Plan, control: Control | None) -> tuple[list[Hold], Approval | None]:
        return waits(plan, control, seconds_of(self.config.plans.max_age))

    @property
    def _pauses(self) -> Pauses:
        return Pauses(self.config.delivery.wait_first, self.config.delivery.wait_max)

    def _take_up(self, prepared: Prepared, state: State, control: Control, sync_id: int) -> bool:
        """Ask the destination for jobs that a process left behind, before anything is compared: what they wrote is
        neither lost nor written again. Says whether there were any. Raises what the destination raises."""
        batches = control.left_behind(state.sync)
        for left in batches:
            parked = [one.key for one in control.parked(state.sync)]
            plan = state.plan_of(left.file, prepared.sync, parked)
            plan.is_whole = prepared.limits.whole
            batch = batch_of(plan, left.lo, left.hi)
            delivery = Delivery(
                plan, left.plan_id, sync_id, prepared.destination, control, self.stop, pauses=self._pauses
            )
            tally = delivery.resume(batch, left.job)
            counts = {"accepted": tally.accepted, "rejected": tally.rejected}
            control.taken_up(left.run_id, left.plan_id, **counts)
            log.info("job_taken_up", sync=state.sync, run=left.run_id, **counts)
        return bool(batches)

    def _allowed(self, plan: Plan, destination: Destination, records_max: int | None) -> list[Hold]:
        """Whether what the service counts still suffices for the plan. Nothing is asked when nothing is to be sent."""
        allowance = destination.allowance(plan.sync) if plan.sendable else None
        if allowance is None:
            return []
        return judge_allowance(plan.sync, estimate(plan, destination, records_max).requests, allowance)

    def everything(self, prepared: Prepared, standing: Standing, file: Path) -> Plan:
        """A plan as if nothing were known, with the slots of a standing: every usable row of the source is new."""
        return self._plan(prepared, Inputs(replace(EMPTY, slots=standing.slots), None, [], []), file)

    def _plan(
        self,
        prepared: Prepared,
        inputs: Inputs,
        file: Path,
        only: Sequence[str] = (),
        state: State | None = None,
        stages: Stages | None = None,
    ) -> Plan:
        """Read, map, compare: with all rows of the source, or those that the state chooses."""
        try:
            return self._compared(prepared, inputs, file, only, state, stages)
        except HashesCollide:
            # Of ten million keys two do so in one run of 400,000, and what has passed by cannot be looked at again.
            return self._compared(prepared, inputs, file, only, state, stages, exact=True)

    def _compared(
        self,
        prepared: Prepared,
        inputs: Inputs,
        file: Path,
        only: Sequence[str],
        state: State | None,
        stages: Stages | None,
        *,
        exact: bool = False,
    ) -> Plan:
        """As `_plan`. Raises HashesCollide, unless it is `exact`."""
        canon, limits, stages = prepared.canon, prepared.limits, stages or Stages()
        with self.placed(prepared.sync), stages.stage("read"):
            if state is None:
                read = Read(self.source.read(prepared.sync, prepared.sync.columns), inputs)
            else:
                read = state.read(self.source, canon, limits, inputs, only)
        reading = read.reading
        arriving = stages.spent("read", self._until_stop(reading.batches))
        batches = pa.RecordBatchReader.from_batches(reading.batches.schema, arriving)
        try:
            with self.placed(prepared.sync), calculator(file.parent) as connection:
                plan = compare(
                    connection, canon, limits, batches, read.inputs, file,
                    only=only, now=self._clock(), narrowed=read.narrowed, stages=stages, exact=exact,
                )  # fmt: skip
        finally:
            reading.close()
        plan.bytes_read, plan.price, plan.currency = reading.bytes_read, reading.price, reading.currency
        plan.is_whole = prepared.limits.whole
        return plan

    def _until_stop(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches; a stop does not wait for a long read to end. Raises Stopping."""
        for batch in batches:
            if self.stop.is_set():
                raise Stopping
            yield batch

    def _look(self, prepared: Prepared, folder: Path, only: Sequence[str]) -> Plan:
        """A plan without the lock."""
        state = self.state(prepared.sync.name)

        def look() -> Plan:
            control = Control.look(self.config.state)
            try:
                standing = control.standing(prepared.sync.name) if control else EMPTY
                inputs = self.inputs(state, control, standing)
                return self._plan(prepared, inputs, folder / "plan.parquet", only, state)
            finally:
                if control:
                    control.close()

        return look_again(look)

    def inputs(self, state: State, control: Control | None, standing: Standing) -> Inputs:
        """What a comparison needs to know of the state, as it stands."""
        base, plans = state.known_files(standing)
        if control is None:
            return Inputs(standing, base, plans, [])
        return Inputs(standing, base, plans, control.parked(state.sync), control.gone(state.sync))

    def _judge(self, plan: Plan) -> list[Hold]:
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        with self.placed(plan.sync):
            modified = self.source.modified(plan.sync)
        return judge(plan, plan.sync.brakes, modified, now)

    def judge_alone(self, plan: Plan) -> list[Hold]:
        """The brakes on a plan that does not come from the source, whose age says nothing of it."""
        return judge(plan, plan.sync.brakes, None, datetime.datetime.fromtimestamp(self._clock(), datetime.UTC))

    def note(self, state: State, control: Control, sync: Sync) -> bool:
        """Bring the history up to date; says whether it is. What is missing stays where it is for the next run."""
        seconds = self.config.history.keep_seconds
        is_noted = _postponable("history_postponed", state, lambda: note(state, control, sync, is_kept=bool(seconds)))
        if is_noted:
            _postponable("history_untidy", state, lambda: tidy(state, control, sync.name, seconds, self._clock()))
        return is_noted

    def _log_delivered(self, state: State, control: Control, report: Report) -> None:
        """Append to the warehouse's log what it does not have yet. Whatever goes wrong is a sentence, and no more."""
        if self._delivered is None:
            return
        try:
            self._delivered.catch_up(state, control, report.sync)
        except SyncerError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a log, the run went as it went
            reason = f"Syncer's fault: {type(error).__name__} in {place_of(error)}."
        else:
            return
        report.warnings.append(not_logged(reason))
        log.warning("delivered_log_postponed", sync=report.sync.name, reason=reason)

    def fold(self, state: State, control: Control, prepared: Prepared) -> None:
        """Bring the history up to date, and fold when the overlay has grown. That only makes the next comparison
        cheaper: a failure is told, not fatal. What the history does not have yet must not be folded away."""
        if self.note(state, control, prepared.sync):
            _postponable("fold_postponed", state, lambda: self._fold(state, control, prepared))

    def _fold(self, state: State, control: Control, prepared: Prepared) -> None:
        standing = control.standing(state.sync)
        if control.left_behind(state.sync) or not state.is_to_be_folded(control, standing):
            # A job that was left behind will tell what became of its records, and it has to find them where they are.
            return
        with calculator(state.folder) as connection:
            inputs = self.inputs(state, control, standing)
            mapped, retired = slots_of(prepared.canon, inputs)
            state.fold(control, inputs, [*mapped, *retired], len(prepared.sync.match), connection)


def _postponable(event: str, state: State, work: Callable[[], None]) -> bool:
    """Do what can also be done at the end of the next run; says whether it is done."""
    try:
        work()
    except StateDamaged as error:
        log.warning(event, sync=state.sync, reason=str(error))
    except duckdb.Error as error:
        # Its text may quote a value.
        log.warning(event, sync=state.sync, reason=f"{type(error).__name__} in {place_of(error)}")
    else:
        return True
    return False
