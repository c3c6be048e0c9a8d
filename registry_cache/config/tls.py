"""The words of ``http.tls``: Go's names of client authentication and cipher suites, and what we make of them."""

from typing import Literal, TypeAlias

ClientAuth: TypeAlias = Literal["none", "optional", "required"]
TlsVersion: TypeAlias = Literal["tls1.2", "tls1.3"]

# Distribution accepts these as well; what they would allow beyond the default is not served.
OLD_TLS_VERSIONS: dict[str, TlsVersion] = {"tls1.0": "tls1.2", "tls1.1": "tls1.2"}
# Distribution's fourth word, require-any-client-cert, accepts any certificate unverified: OpenSSL cannot do that.
CLIENT_AUTHS: dict[str, ClientAuth] = {
    "request-client-cert": "none",
    "verify-client-cert-if-given": "optional",
    "require-and-verify-client-cert": "required",
}
# Go's names to OpenSSL's. The suites of TLS 1.3 are always on in both, hence "".
CIPHERS = {
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
# Go's names of suites without forward secrecy, without AEAD, or without both: accepted, and not served.
WEAK_CIPHERS = (
    *(f"TLS_RSA_WITH_{cipher}" for cipher in ("RC4_128_SHA", "3DES_EDE_CBC_SHA")),
    *(f"TLS_RSA_WITH_AES_{cipher}" for cipher in ("128_CBC_SHA", "256_CBC_SHA", "128_CBC_SHA256")),
    *(f"TLS_RSA_WITH_AES_{cipher}" for cipher in ("128_GCM_SHA256", "256_GCM_SHA384")),
    *(
        f"TLS_ECDHE_{key}_WITH_{cipher}"
        for key in ("RSA", "ECDSA")
        for cipher in ("RC4_128_SHA", "AES_128_CBC_SHA", "AES_256_CBC_SHA", "AES_128_CBC_SHA256")
    ),
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
)
