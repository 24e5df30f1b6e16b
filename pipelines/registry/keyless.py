"""Signatures by the identity of a workflow's run on GitHub, through Sigstore's service: no key is kept.

Sigstore's certificate names the workflow file and its branch, and its log the moment. All that needs the
service is here, behind `attestation.Signer` and `Verifier`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.base import github
from pipelines.base.errors import UserError, one_line
from pipelines.registry.attestation import PAYLOAD, WORKFLOW
from pipelines.registry.signing import Untrusted

if TYPE_CHECKING:
    from sigstore.oidc import IdentityToken

BUNDLE = "attestation.sigstore.json"  # in evidence/
MEDIA = "application/vnd.dev.sigstore.bundle.v0.3+json"
ISSUER = "https://token.actions.githubusercontent.com"
RUNNER = "github-hosted"  # as `build` of the workflow is


def signer() -> "Keyless | None":
    """Where this is a run on GitHub of a public repository that may ask who it is; None elsewhere."""
    on_github = os.environ.get("GITHUB_API_URL") == github.API and os.environ.get(
        "ACTIONS_ID_TOKEN_REQUEST_URL"
    )
    if not on_github or not (event := os.environ.get("GITHUB_EVENT_PATH")):
        return None
    try:
        told = json.loads(Path(event).read_text(encoding="utf-8"))
        return Keyless() if told["repository"]["private"] is False else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Keyless:
    """Signs as the run that this is."""

    file: str = BUNDLE
    media: str = MEDIA

    def sign(self, statement: bytes) -> bytes:
        """A Sigstore bundle. UserError where GitHub or Sigstore refuse or do not answer."""
        from sigstore import dsse, errors
        from sigstore.models import ClientTrustConfig
        from sigstore.sign import SigningContext

        try:
            context = SigningContext.from_trust_config(ClientTrustConfig.production())
            with context.signer(self._identity()) as run:
                return run.sign_dsse(dsse.Statement(statement)).to_json().encode() + b"\n"
        except UserError:
            raise
        except (errors.Error, OSError, ValueError) as error:
            why = one_line(str(error) or type(error).__name__)
            raise UserError(f"Sigstore did not sign ({why}): run the same again") from None

    @staticmethod
    def _identity() -> "IdentityToken":
        from sigstore.oidc import IdentityToken, detect_credential

        if (token := detect_credential()) is None:
            raise UserError("GitHub tells this run no identity: give the job `id-token: write`")
        return IdentityToken(token)


@dataclass(frozen=True)
class Workflow:
    """Takes what the release workflow of one repository signed on its default branch; `repository` is
    OWNER/NAME as GitHub spells it, `branch` refs/heads/NAME."""

    repository: str
    branch: str
    file: str = BUNDLE

    @property
    def identity(self) -> str:
        """Whom Sigstore's certificate must name."""
        return f"https://github.com/{self.repository}/{WORKFLOW}@{self.branch}"

    def verify(self, content: bytes) -> tuple[str, bytes]:
        """By Sigstore's own library: certificate, log, signature, and then this identity."""
        from sigstore import errors
        from sigstore.models import Bundle
        from sigstore.verify import Verifier
        from sigstore.verify.policy import AllOf, Identity, OIDCRunnerEnvironment

        # `train` has the same identity, maybe on a machine that proposals had before: GREENLIGHT_TRAINER
        policy = AllOf([Identity(identity=self.identity, issuer=ISSUER), OIDCRunnerEnvironment(RUNNER)])
        try:
            bundle = Bundle.from_json(content)
            kind, payload = Verifier.production().verify_dsse(bundle, policy)
        except (errors.Error, ValueError) as error:
            raise Untrusted(f"is not signed by {self.identity} ({one_line(error)})") from None
        if kind != PAYLOAD:
            raise Untrusted(f"holds {one_line(kind)}, not a statement")
        return self.identity, payload
