"""A mail server on the loopback interface that keeps what it is sent."""

import base64
import datetime
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "operator", "pass-word-SECRET"


@dataclass
class MailHost:
    """`offers`: STARTTLS; `busy`: refuses every mail for now; `mails`: (over TLS, logged in, recipients, text)."""

    folder: Path
    offers: bool = True
    from_the_start: bool = False
    busy: bool = False
    port: int = 0
    mails: list[tuple[bool, bool, list[str], str]] = field(default_factory=list)

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    def trusting(self) -> ssl.SSLContext:
        """What a client needs that trusts this server."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def make_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of the tests")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256())
        )
        self.certificate.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        return context

    def converse(self, request: socketserver.StreamRequestHandler) -> None:
        connection = request.connection
        secure, known = False, False
        if self.from_the_start:
            connection, secure = self.tls().wrap_socket(connection, server_side=True), True
        stream = connection.makefile("rwb")

        def say(line: str) -> None:
            stream.write(f"{line}\r\n".encode())
            stream.flush()

        say("220 here")
        recipients: list[str] = []
        while line := stream.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    more = ["here", "AUTH PLAIN", *(["STARTTLS"] if self.offers and not secure else [])]
                    for extension in more:
                        say(f"250-{extension}")
                    say("250 8BITMIME")
                case "STARTTLS":
                    say("220 go on")
                    stream.close()
                    connection = self.tls().wrap_socket(connection, server_side=True)
                    stream, secure = connection.makefile("rwb"), True
                case "AUTH":
                    told = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")[1:]
                    known = told == [USER, PASSWORD]
                    say("235 welcome" if known else f"535 not with {PASSWORD}")
                case "MAIL":
                    say("451 busy" if self.busy else "250 fine")
                case "RCPT":
                    recipients.append(rest.partition("<")[2].partition(">")[0])
                    say("250 fine")
                case "DATA":
                    say("354 tell")
                    lines = []
                    while (part := stream.readline()) not in (b".\r\n", b""):
                        lines.append(part.decode())
                    self.mails.append((secure, known, recipients, "".join(lines)))
                    recipients = []
                    say("250 taken")
                case "QUIT":
                    say("221 bye")
                    break
                case _:
                    say("250 fine")
        stream.close()
        connection.close()


@contextmanager
def mail_host(folder: Path, *, offers: bool = True, from_the_start: bool = False) -> Iterator[MailHost]:
    host = MailHost(folder, offers, from_the_start)
    host.make_certificate()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                host.converse(self)
            except (OSError, ValueError):
                return  # the client did not trust us, or left

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        host.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()
