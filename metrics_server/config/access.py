"""How pages behind TLS are verified, and the credentials for them."""

from typing import Self

from pydantic import Field, model_validator

from metrics_server.config.forms import ConfigPath, ServerName, UserName
from metrics_server.config.values import Section


class TlsConfig(Section):
    """How servers behind TLS are verified. Verification cannot be turned off."""

    ca_file: ConfigPath | None = Field(
        None, description="CA certificates to verify them with, PEM; by default the system's."
    )
    server_name: ServerName | None = Field(
        None, description="The name in their certificates, if it is not their address."
    )
    cert_file: ConfigPath | None = Field(
        None, description="A client certificate to show them, PEM; reread every minute."
    )
    key_file: ConfigPath | None = Field(
        None, description="The key of that certificate, PEM, without a passphrase."
    )

    @model_validator(mode="after")
    def _is_a_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile must be set together")
        return self


class AuthConfig(Section):
    """Credentials; files are reread every minute."""

    bearer_token_file: ConfigPath | None = Field(None, description="A file with a bearer token.")
    username: UserName | None = Field(None, description="The user of basic authentication.")
    password_file: ConfigPath | None = Field(None, description="A file with that user's password.")

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and passwordFile must be set together")
        if self.username is not None and self.bearer_token_file is not None:
            raise ValueError("bearerTokenFile and username are mutually exclusive")
        return self

    @property
    def has_credentials(self) -> bool:
        """Whether there are credentials, which must not be sent in the clear."""
        return self.username is not None or self.bearer_token_file is not None
