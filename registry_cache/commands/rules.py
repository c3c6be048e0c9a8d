"""Compare the rules of a command's configuration with those that the store's server runs with."""

from __future__ import annotations

import argparse
import sys

from registry_cache.commands.command import CommandError
from registry_cache.config import Config
from registry_cache.store import server_rules
from registry_cache.store.layout import Layout
from registry_cache.store.server_rules import ServerRules
from registry_cache.upkeep.report import printable

_UPSTREAMS = "upstreams"

# What decides which content a store keeps.
_KEYS = ("proxy.ttl", "storage.max_size", "storage.min_free")


def rules_of(config: Config) -> ServerRules:
    """Return the rules that follow from a configuration."""
    values = {each.path: each.value for each in config.in_force}
    rules = {key: values[key] for key in _KEYS}
    return ServerRules(config.source, rules | {_UPSTREAMS: ", ".join(each.name for each in config.upstreams)})


def require_same_rules(arguments: argparse.Namespace, config: Config, layout: Layout) -> None:
    """Raise CommandError if the store's server has other rules, unless ``--force`` says that this is meant."""
    known, ours = server_rules.recall(layout), rules_of(config)
    if known is None or arguments.force:
        return
    differing = [
        f"{key} is {ours.rules.get(key, 'unknown')} here and {value} there"
        for key, value in known.rules.items()
        if ours.rules.get(key) != value
    ]
    if differing:
        raise CommandError(
            f"the server of {config.root} runs with other rules ({known.configuration}): {'; '.join(differing)}. "
            "Nothing was changed. Name its configuration with --config, or reload the server, or continue with --force"
        )


def warn_of_other_upstreams(config: Config) -> None:
    """Say on standard error if the store's server mirrors others: a name may mean another image here."""
    known, ours = server_rules.recall(Layout(config.root)), rules_of(config).rules[_UPSTREAMS]
    theirs = known.rules.get(_UPSTREAMS, ours) if known else ours
    if known and theirs != ours:
        told = f"the server of {config.root} mirrors {theirs}, by {known.configuration}, and this command {ours}"
        print(printable(f"registry-cache: {told}: name its configuration with --config"), file=sys.stderr)
