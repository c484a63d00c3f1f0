"""Registering models outside, and taking them out of use. One never changes: what it answered would be another's."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.language.languages import _
from app.language.run_messages import told
from app.models import Contender, OutsideModel, Run, utc_now
from app.runs.runs import LIVE, request_cancel
from trainer.contract.outside.address import base_of, problem_with
from trainer.contract.outside.key import KEY_VARIABLE

MOST_PRICE = 1_000_000.0  # US dollars for a million tokens


@dataclass(frozen=True)
class Registration:
    """What the owner says of a model outside. `key_variable` is empty where it is asked without a key."""

    name: str
    address: str
    model: str
    key_variable: str = ""
    own_network: bool = False
    prompt_price: float | None = None  # US dollars for a million tokens
    answer_price: float | None = None


@dataclass(frozen=True)
class Use:
    """What was asked of a model so far, in all projects: as the other side counted."""

    runs: int
    prompt_tokens: int
    answer_tokens: int
    cost_usd: float | None


def list_models(session: Session, *, archived: bool = False) -> list[OutsideModel]:
    """Those in use by name; with `archived` also those that are not, behind them."""
    found = select(OutsideModel).order_by(OutsideModel.archived_at.is_not(None), OutsideModel.name, OutsideModel.id)
    return list(session.scalars(found if archived else found.where(OutsideModel.archived_at.is_(None))))


def get_model(session: Session, model_id: int) -> OutsideModel:
    """Raises NotFound."""
    found = session.get(OutsideModel, model_id)
    if found is None:
        raise NotFound(_("There is no such model."))
    return found


def register(session: Session, given: Registration, by: int | None) -> OutsideModel:
    """Raises Invalid, naming every field, and Conflict where the name is taken."""
    if problems := _problems(given):
        raise Invalid(_("This model cannot be registered."), problems)
    values = asdict(given) | {"address": base_of(given.address), "key_variable": given.key_variable or None}
    made = OutsideModel(**values, created_by=by)
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError:
        raise Conflict(_("A model has that name already."), {"name": _("taken")}) from None
    record(session, by, "outside_model.registered", f"outside model {made.id}", {"name": made.name, "model": made.model})
    return made


def archive(session: Session, model_id: int, by: int | None) -> None:
    """Ask it no more, by runs that go on neither. What it answered stays, and so do the contenders of projects. Twice is once."""
    model = get_model(session, model_id)
    if model.archived_at is None:
        model.archived_at = utc_now()
        for run in session.scalars(_asked_of(model).where(Run.state.in_(LIVE)).order_by(Run.id)).all():
            request_cancel(session, run, by)
        record(session, by, "outside_model.archived", f"outside model {model.id}", {"name": model.name})
    session.flush()


def uses(session: Session) -> dict[int, Use]:
    """By model. Runs of deleted projects are gone, and count no more."""
    figures = [func.coalesce(func.sum(Run.result[name].as_float()), 0) for name in ("prompt_tokens", "answer_tokens")]
    asked = (
        select(Contender.outside_id, func.count(), *figures, func.sum(Run.result["cost_usd"].as_float()))
        .join(Run, Run.inputs["contender"].as_integer() == Contender.id)
        .where(Run.kind == "ask", Contender.outside_id.is_not(None))
        .group_by(Contender.outside_id)
    )
    return {model: Use(runs, int(prompt), int(answer), cost) for model, runs, prompt, answer, cost in session.execute(asked)}


def _asked_of(model: OutsideModel) -> Select[Run]:
    mine = select(Contender.id).where(Contender.outside_id == model.id)
    return select(Run).where(Run.kind == "ask", Run.inputs["contender"].as_integer().in_(mine))


def key_is_set(model: OutsideModel) -> bool:
    """Whether the key is in this process's environment; the worker's, which asks, is the same unless it is run apart."""
    return model.key_variable is None or bool(os.environ.get(model.key_variable))


def _problems(given: Registration) -> dict[str, str]:
    found = {name: _("This is needed.") for name in ("name", "model", "address") if not getattr(given, name)}
    if given.address and (problem := problem_with(base_of(given.address), own_network=given.own_network)) is not None:
        found["address"] = told(problem)
    if given.key_variable and not KEY_VARIABLE.fullmatch(given.key_variable):
        found["key_variable"] = _("The name of a variable in capital letters that ends in _API_KEY, such as OPENAI_API_KEY.")
    prices = {"prompt_price": given.prompt_price, "answer_price": given.answer_price}
    for name, price in prices.items():
        if price is not None and not 0 <= price <= MOST_PRICE:
            found[name] = _("This must be a price in US dollars.")
    if not found and len([price for price in prices.values() if price is not None]) == 1:
        found["answer_price"] = _("Give both prices, or none.")
    return found
