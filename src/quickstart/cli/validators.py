"""`validators`: the set of this epoch, from the chain."""

import argparse
import asyncio
from typing import Any

from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.ids import format_id
from quickstart.chain.validators import QUORUM, ValidatorSet
from quickstart.cli.board import seat
from quickstart.cli.rendering import print_json, print_row, print_table
from quickstart.errors import EXIT_DONE
from quickstart.units import format_soma

COLUMNS = ("power", "stake", "next stake", "commission", "next", "reported by", "validator")


def run_validators(arguments: argparse.Namespace) -> int:
    """Prints the set: power, stake, commission, reports of validators and of models."""
    found = asyncio.run(_read(arguments))
    if arguments.json:
        print_json(_document(found))
    else:
        _print(found)
    return EXIT_DONE


async def _read(arguments: argparse.Namespace) -> ValidatorSet:
    async with seat(arguments) as where:
        return await NetworkReader(await connect(Endpoints(where.url)), where.url).validators()


def _document(found: ValidatorSet) -> dict[str, Any]:
    return {
        "epoch": found.epoch,
        "total_stake_shannons": found.total_stake,
        "pending": [format_id(address) for address in found.pending],
        "validators": [
            {
                "address": format_id(one.address),
                "voting_power": one.voting_power,
                "stake_shannons": one.stake,
                "next_stake_shannons": one.next_stake,
                "commission_bps": one.commission_bps,
                "next_commission_bps": one.next_commission_bps,
                "network_address": one.network_address,
                "proxy_url": one.proxy_url,
                "reporters": [format_id(reporter) for reporter in sorted(one.reporters)],
                "at_risk_epochs": one.at_risk_epochs,
            }
            for one in found.validators
        ],
        "model_reports": {
            format_id(model_id): {
                "reporters": [format_id(reporter) for reporter in sorted(reporters)],
                "voting_power": found.power_of(reporters),
            }
            for model_id, reporters in found.model_reports.items()
        },
    }


def _print(found: ValidatorSet) -> None:
    print_row("epoch", f"{found.epoch}, {len(found.validators)} validators, {format_soma(found.total_stake)} staked")
    rows = [
        (
            f"{one.voting_power / 100:.2f}%",
            format_soma(one.stake),
            format_soma(one.next_stake),
            f"{one.commission_bps / 100:.2f}%",
            f"{one.next_commission_bps / 100:.2f}%",
            f"{found.power_of(one.reporters) / 100:.2f}%" if one.reporters else "-",
            format_id(one.address) + ("" if one.at_risk_epochs is None else f" at risk for {one.at_risk_epochs}"),
        )
        for one in found.validators
    ]
    if rows:
        print_table(COLUMNS, rows)
    for address in found.pending:
        print_row("joining", format_id(address))
    for model_id, reporters in found.model_reports.items():
        power = found.power_of(reporters)
        verdict = "it loses its stake at the end of the epoch" if power >= QUORUM else "no quorum"
        print_row("reported", f"model {format_id(model_id)}: {power / 100:.2f}% of the power, {verdict}")
