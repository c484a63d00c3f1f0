"""Rewards outside of the model by their names. An address of the owner's goes before an installed package of the same name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trainer.contract.environment import ENTRY_POINTS, REWARD_KEYS, REWARDS, installed_rewards, read_pairs
from trainer.contract.folder import Refused
from trainer.contract.messages import Message
from trainer.outside.address import Address
from trainer.outside.entry_point import Installed


def open_rewards(names: Collection[str], environment: Mapping[str, str]) -> dict[str, Address | Installed]:
    """What scores answers under each of these names, by what the environment and the installed packages say.

    Raises Refused for a name that nobody offers, and for an entry point that cannot be loaded.
    """
    if not names:
        return {}
    addresses, keys = read_pairs(environment.get(REWARDS, "")), read_pairs(environment.get(REWARD_KEYS, ""))
    found: dict[str, Address | Installed] = {}
    for name in names:
        if name in addresses:
            found[name] = Address(name, addresses[name], keys.get(name))
        elif name in installed_rewards():
            found[name] = Installed(installed_rewards()[name])
        else:
            raise Refused(Message("outside_gone", name=name, variable=REWARDS, group=ENTRY_POINTS))
    return found
