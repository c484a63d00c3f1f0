"""What is wrong with one field of a form or a body, in a sentence: the framework's own words are written for programmers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.language.languages import N_, _, known

# By the type of a pydantic error; the values are filled in from its context.
SENTENCES: Final = {
    "missing": N_("This is needed."),
    "extra_forbidden": N_("This is not known here."),
    "string_type": N_("This must be text."),
    "string_unicode": N_("This holds a character that cannot be stored."),
    "datetime_type": N_("This must be a time with its zone, such as 2026-03-31T12:00:00Z."),
    "datetime_parsing": N_("This must be a time with its zone, such as 2026-03-31T12:00:00Z."),
    "datetime_from_date_parsing": N_("This must be a time with its zone, such as 2026-03-31T12:00:00Z."),
    "datetime_object_invalid": N_("This must be a time with its zone, such as 2026-03-31T12:00:00Z."),
    "timezone_aware": N_("This must be a time with its zone, such as 2026-03-31T12:00:00Z."),
    "string_too_long": N_("At most %(max_length)s characters."),
    "string_too_short": N_("At least %(min_length)s characters."),
    "string_pattern_mismatch": N_("This does not have the form that is asked for: %(pattern)s"),
    "int_type": N_("This must be a whole number."),
    "int_parsing": N_("This must be a whole number."),
    "int_parsing_size": N_("This number is too large."),
    "int_from_float": N_("This must be a whole number."),
    "float_type": N_("This must be a number."),
    "float_parsing": N_("This must be a number."),
    "finite_number": N_("This must be a finite number."),
    "greater_than": N_("This must be more than %(gt)s."),
    "greater_than_equal": N_("This must be at least %(ge)s."),
    "less_than": N_("This must be less than %(lt)s."),
    "less_than_equal": N_("This must be at most %(le)s."),
    "literal_error": N_("This must be one of %(expected)s."),
    "bool_type": N_("This must be true or false."),
    "bool_parsing": N_("This must be true or false."),
    "list_type": N_("This must be a list."),
    "dict_type": N_("This must be an object."),
    "model_type": N_("This must be an object."),
    "model_attributes_type": N_("This must be an object."),
    "too_long": N_("At most %(max_length)s of them."),
    "too_short": N_("At least %(min_length)s of them."),
    "json_invalid": N_("This is not JSON."),
    "uuid_type": N_("This must be a UUID."),
    "uuid_parsing": N_("This must be a UUID."),
}


def sentence(error: Mapping[str, Any]) -> str:
    """One entry of a pydantic ValidationError, for the person who filled in the field."""
    context = error.get("ctx", {})
    if error["type"] == "value_error":  # a rule of ours, which said it already
        return _("This %(problem)s.", problem=known(str(context["error"])))
    words = SENTENCES.get(error["type"])
    return _(words, **context) if words else str(error["msg"])
