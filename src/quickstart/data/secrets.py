"""Private keys, tokens and passwords in a window. What is published stays published, so this cannot be switched off.

The formats of tokens are those of detect-secrets; those that it lacks, and keys whose first line lies in an earlier
window, are here.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module

_DETECTORS = {
    "artifactory": "ArtifactoryDetector",
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "cloudant": "CloudantDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "ibm_cloud_iam": "IbmCloudIamDetector",
    "ibm_cos_hmac": "IbmCosHmacDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "softlayer": "SoftlayerDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}

_TOKENS = re.compile(
    r"""\b(?:
        hf_[A-Za-z]{30,}                              # Hugging Face
      | api_org_[A-Za-z]{30,}
      | AIza[0-9A-Za-z_-]{35}                         # Google API key
      | ya29\.[0-9A-Za-z_-]{20,}                      # Google OAuth
      | sk-(?:ant|proj|svcacct|or)-[0-9A-Za-z_-]{20,} # Anthropic, OpenAI, OpenRouter
      | github_pat_[0-9A-Za-z_]{40,}
      | xapp-\d-[0-9A-Za-z-]{20,}                     # Slack app
      | do[oprt]_v1_[0-9a-f]{64}                      # DigitalOcean
      | shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}            # Shopify
      | AGE-SECRET-KEY-1[0-9A-Z]{58}
      | somaprivkey1[02-9ac-hj-np-z]{20,}             # a wallet of this network
      | (?:suiprivkey1)[02-9ac-hj-np-z]{20,}
      | (?:ASIA|AKIA)[0-9A-Z]{16}
    )""",
    re.VERBOSE,
)

_KEY_LINE = r"[ \t>#*/\"'+\\rn,]*[A-Za-z0-9+/]{64,76}={0,2}[ \t\"'+\\rn,;)]*\r?\n"
_HEADLESS_KEY = re.compile(
    rf"\A[^\n]{{0,90}}\n(?:{_KEY_LINE}){{3}}|\A(?:{_KEY_LINE}){{3}}|(?:[A-Za-z0-9+/]{{64}}\\n){{3}}"
)
"""Lines of base64 as long as in PEM files, at a window's beginning or in a string: what they are may have been said in
the window before."""

_KEY_FRAME = re.compile(r"(?:BEGIN|END) [A-Z0-9 ]{0,30}PRIVATE KEY|PuTTY-User-Key-File-\d")

_PASSWORD = re.compile(
    r"""(?ix) (?: secret_?access_?key | client_?secret | private_?key | api_?key | auth_?token | access_?token )
    ["']? \s* (?: = | : | => | := ) \s* ["'] (?=[^"'\s]*\d) (?=[^"'\s]*[a-z]) [A-Za-z0-9/+_=-]{24,} ["']"""
)
"""A long value with digits and letters, given in quotes to a name that says it is secret."""


_LONG_RUN = re.compile(r"[A-Za-z0-9+/]{64}")

_FIRST = {
    "artifactory": r"AKC[a-zA-Z0-9]{10}|AP[0-9A-F][a-zA-Z0-9]{8}",
    "cloudant": r"[0-9a-fA-F]{64}|[a-zA-Z]{24}",
    "ibm_cloud_iam": r"(?![_-]{44})[A-Za-z0-9_-]{44}",
    "ibm_cos_hmac": r"[0-9a-zA-Z]{48}",
    "softlayer": r"[0-9a-zA-Z]{64}",
    "mailchimp": r"-us[0-9]",
}
"""What a slow detector's finds all contain, which is looked for first: it spares two thirds of the time."""


def holds_secret(data: bytes) -> bool:
    """Whether a window holds what looks like a private key, token or password."""
    text = data.decode("utf-8", "replace")
    return any(
        (first is None or first.search(text) is not None) and any(pattern.search(text) for pattern in patterns)
        for first, patterns in _detectors()
    )


@cache
def _detectors() -> tuple[tuple[re.Pattern[str] | None, Sequence[re.Pattern[str]]], ...]:
    """Patterns, and for some what must be there before they are worth trying."""
    found: list[tuple[re.Pattern[str] | None, Sequence[re.Pattern[str]]]] = [
        (None, (_TOKENS, _KEY_FRAME)),
        (_LONG_RUN, (_HEADLESS_KEY,)),
        (re.compile(r"""[A-Za-z0-9/+_=-]{24}["']"""), (_PASSWORD,)),
    ]
    for module, name in _DETECTORS.items():
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
        found.append((re.compile(_FIRST[module]) if module in _FIRST else None, tuple(detector.denylist)))
    return tuple(found)
