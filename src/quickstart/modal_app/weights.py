"""One model's weights, from where they are published onto the volume that scorers read. It holds no secret."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from quickstart.errors import QuickstartError, StateError
from quickstart.modal_app.account import described
from quickstart.modal_app.messages import Message, failure, manifest_of, weights_store
from quickstart.modal_app.workplace import Shared
from quickstart.scoring.weights_shelf import WeightsShelf

log = logging.getLogger(__name__)


def put_weights(message: Message, volume: Shared, max_bytes: int) -> Message:
    """Downloads, checks and decrypts what a `weights_message` names, onto a volume that holds at most `max_bytes`.

    Returns the checksum of the decrypted weights, or a `failure`; never raises, since Modal would raise the same at the
    caller, who takes some kinds for trouble with asking.
    """
    manifest, key = manifest_of(message)
    try:
        volume.reload()
        with TemporaryDirectory() as cache:
            checksum = WeightsShelf(volume.folder, max_bytes).add(manifest, key, weights_store(message, Path(cache)))
        volume.commit()
    except StateError as error:
        return failure(str(error), model_at_fault=False)  # our own disk
    except QuickstartError as error:
        return failure(str(error), model_at_fault=True)
    except Exception as error:  # whatever a volume raises: it is no model's fault, and may be tried again
        log.exception("the weights of %s are not on the volume", manifest.url)
        return failure(described(error), model_at_fault=False)
    return {"weights": checksum.hex()}
