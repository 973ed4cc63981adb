"""`wallet`: make, take in, show, back up and restore the key; move what the wallet does not need to a cold address.

The SDK makes keys and reads mnemonic phrases, and makes no phrases: the key itself is what there is to keep.
"""

import argparse
import asyncio
import getpass
import sys
from pathlib import Path
from typing import Any

from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.identity import service_info
from quickstart.chain.ids import format_digest, format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.versions import SigningPermit
from quickstart.cli.commands import premises
from quickstart.cli.networks import network, settings_for, storage, wallet_for
from quickstart.cli.rendering import NOTHING_SENT, print_json
from quickstart.cli.state import open_state
from quickstart.errors import EXIT_DONE, EXIT_FAILED, KeyFormatError, UsageError
from quickstart.profiles import chosen
from quickstart.settings import KEY_NAME, load_settings, raw_value
from quickstart.submission.premises import Places
from quickstart.trainer.office import open_office
from quickstart.units import format_soma
from quickstart.wallet.backup import open_backup, seal
from quickstart.wallet.key_file import keep, refuse_overwriting, write_new
from quickstart.wallet.sweep import Sweep, parse_recipient, plan_sweep, send_sweep

OF_FILES = ("import", "backup", "restore")
PHRASE_WORDS = (12, 15, 18, 21, 24)


def run_wallet(arguments: argparse.Namespace) -> int:
    """Does what was asked for.

    Raises:
        UsageError: an option that does not belong to it, or what each of them finds.
    """
    _refuse_strangers(arguments)
    match arguments.what:
        case "new":
            return _made(_new(), arguments, nowhere_else=True)
        case "import":
            return _made(_imported(arguments.file), arguments)
        case "restore":
            return _made(_restored(arguments), arguments)
        case "show":
            return _show(_own(), arguments)
        case "backup":
            return _backup(arguments)
    return asyncio.run(_sweep(arguments))


def _refuse_strangers(arguments: argparse.Namespace) -> None:
    what = arguments.what
    if arguments.file is not None and what not in OF_FILES:
        raise UsageError(f"`wallet {what}` takes no file: leave {arguments.file} out")
    if arguments.file is None and what in ("backup", "restore"):
        raise UsageError(f"`wallet {what}` needs a file: name it")
    if arguments.key and what != "show":
        raise UsageError("--key belongs to `wallet show`: leave it out, the key is not shown otherwise")
    if (arguments.to or arguments.yes or arguments.dry_run) and what != "sweep":
        raise UsageError("--to, --yes and --dry-run belong to `wallet sweep`: leave them out")
    if what == "sweep" and not arguments.to:
        raise UsageError("`wallet sweep` needs the address to send to: add --to ADDRESS")


def _new() -> Wallet:
    from soma_sdk import Keypair

    refuse_overwriting(chosen().env_file)
    return Wallet.parse(Keypair.generate().to_secret_key())


def _imported(file: Path | None) -> Wallet:
    """A key in any known form, or a mnemonic phrase; never from the command line, which other users can read."""
    refuse_overwriting(chosen().env_file)
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{file} cannot be read ({type(error).__name__}): name a file that holds the key"
            ) from error
    elif sys.stdin.isatty():
        text = getpass.getpass("secret key or mnemonic phrase (not shown): ")
    else:
        text = sys.stdin.read()
    words = text.split()
    if len(words) in PHRASE_WORDS:
        return _of_phrase(" ".join(words).lower())
    return Wallet.parse(text)


def _of_phrase(phrase: str) -> Wallet:
    from soma_sdk import Keypair

    try:
        return Wallet.parse(Keypair.from_mnemonic(phrase).to_secret_key())
    except (ValueError, RuntimeError):
        pass
    # Outside of the handler: the SDK's message may quote words, and a traceback would show it.
    raise KeyFormatError("this is no mnemonic phrase: a word is mistyped, missing, or not of the BIP 39 list")


def _restored(arguments: argparse.Namespace) -> Wallet:
    refuse_overwriting(chosen().env_file)
    try:
        sealed = arguments.file.read_bytes()
    except OSError as error:
        raise UsageError(f"{arguments.file} cannot be read ({error.strerror}): name the backup") from error
    return open_backup(sealed, _passphrase(arguments, twice=False))


def _made(wallet: Wallet, arguments: argparse.Namespace, *, nowhere_else: bool = False) -> int:
    """Keeps the key in the env file, and says what it did."""
    file = chosen().env_file
    keep(wallet, file)
    document = {"address": format_id(wallet.address), "file": str(file)}
    if arguments.json:
        print_json(document)
        return EXIT_DONE
    profile = f" --profile {chosen().name}" if chosen().name else ""
    print(f"{'address':<9} {document['address']}")
    print(f"{'key':<9} in {file}, readable by you only{'; it exists nowhere else' * nowhere_else}")
    print(f"next: `uv run wallet backup FILE{profile}`, and keep FILE and its passphrase in two other places")
    return EXIT_DONE


def _own() -> Wallet:
    settings = load_settings(KEY_NAME)
    assert settings.secret_key is not None
    return Wallet.parse(settings.secret_key.get_secret_value())


def _show(wallet: Wallet, arguments: argparse.Namespace) -> int:
    where = "the environment" if raw_value(KEY_NAME, None) else str(chosen().env_file)
    document = {"address": format_id(wallet.address), "key_in": where}
    if arguments.key:
        document["secret_key"] = wallet.encoded()
    if arguments.json:
        print_json(document)
        return EXIT_DONE
    print(f"{'address':<9} {document['address']}")
    print(f"{'key':<9} {document.get('secret_key', f'in {where}; --key shows it')}")
    return EXIT_DONE


def _backup(arguments: argparse.Namespace) -> int:
    """Writes a sealed copy, and opens it again before it says that there is one."""
    wallet = _own()
    passphrase = _passphrase(arguments, twice=True)
    write_new(arguments.file, seal(wallet, passphrase))
    if open_backup(arguments.file.read_bytes(), passphrase) != wallet:
        raise UsageError(f"{arguments.file} does not hold what was written: name another file")
    document = {"address": format_id(wallet.address), "file": str(arguments.file)}
    if arguments.json:
        print_json(document)
        return EXIT_DONE
    print(f"{'address':<9} {document['address']}")
    print(f"{'backup':<9} {arguments.file}, read back; without its passphrase nobody opens it, you included")
    return EXIT_DONE


def _passphrase(arguments: argparse.Namespace, *, twice: bool) -> str:
    """The first line of a file, or what a person types.

    Raises:
        UsageError: there is nobody to ask, or the two differ.
    """
    if arguments.passphrase_file is not None:
        try:
            lines = arguments.passphrase_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{arguments.passphrase_file} cannot be read ({type(error).__name__})") from error
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody can be asked for the passphrase: run this in a terminal, or add --passphrase-file FILE"
        )
    passphrase = getpass.getpass("passphrase: ")
    if twice and getpass.getpass("once more: ") != passphrase:
        raise UsageError("the two differ; nothing was written")
    return passphrase


async def _sweep(arguments: argparse.Namespace) -> int:
    """Shows the plan, asks, and sends it under the wallet's lease."""
    recipient = parse_recipient(arguments.to)
    # A bucket is asked for although nothing is published: the lease that keeps a deployed signer out lies there.
    settings = settings_for(arguments, publishes=True)
    state = open_state(arguments.state or settings.state)
    wallet = wallet_for(arguments, settings, state)
    if recipient == wallet.address:
        raise UsageError("--to is this wallet's own address: name the one to send to")
    async with network(arguments, settings, state, wallet) as where:
        with storage(where.endpoints.rpc, settings, publishes=False) as storage_for:
            reader = NetworkReader(await connect(where.endpoints), where.endpoints.rpc)
            epoch, _ = await reader.own_models(wallet.address)
            planned = plan_sweep(await reader.coins(wallet.address), arguments.keep, epoch.parameters)
            if planned is None or arguments.dry_run:
                return _told(arguments, wallet, planned, None)
            if not _is_wanted(arguments, planned):
                return _told(arguments, wallet, planned, None) or EXIT_FAILED
            places = Places.of(state, await service_info(where.endpoints.rpc), wallet)
            ours = premises(where.endpoints.rpc, settings)
            permit = SigningPermit(settings.accepted_versions)
            stored = storage_for(places)
            async with open_office(where, wallet, places, stored, ours, "wallet sweep", permit) as office:
                # Counted again under the lease, by which nobody else can have taken a coin of them since.
                again = plan_sweep(office.outbox.pool.idle, arguments.keep, epoch.parameters)
                if again is None or again.amount > planned.amount:
                    raise UsageError("the wallet's coins have changed meanwhile; nothing was sent, run this again")
                settled = await send_sweep(office.outbox, again, recipient, epoch.number)
            return _told(arguments, wallet, again, format_digest(settled.intent.digest))


def _is_wanted(arguments: argparse.Namespace, planned: Sweep) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: run this in a terminal, or add --yes; nothing was sent")
    question = f"send {format_soma(planned.amount)} to {arguments.to.strip()}? type yes: "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"


def _told(arguments: argparse.Namespace, wallet: Wallet, planned: Sweep | None, digest: str | None) -> int:
    document: dict[str, Any] = {
        "address": format_id(wallet.address),
        "to": format_id(parse_recipient(arguments.to)),
        "keep_shannons": arguments.keep,
        "amount_shannons": planned.amount if planned else 0,
        "fee_shannons": planned.fee if planned else 0,
        "left_shannons": planned.left if planned else None,
        "coins": len(planned.coins) if planned else 0,
        "transaction": digest,
        "dry_run": arguments.dry_run,
    }
    if arguments.json:
        print_json(document)
        return EXIT_DONE
    if planned is None:
        print(f"nothing to move: the wallet holds no more than {format_soma(arguments.keep)}, which stay, and the fee")
        return EXIT_DONE
    print(f"{'move':<9} {format_soma(planned.amount)} to {document['to']}")
    print(f"{'fee':<9} {format_soma(planned.fee)}, {len(planned.coins)} coins become one")
    print(f"{'left':<9} {format_soma(planned.left)}")
    print(f"{'sent':<9} {digest}" if digest else NOTHING_SENT)
    return EXIT_DONE
