"""sslyze: which versions, suites, curves and extensions the server takes, and the attacks that are known
by name; then its check against the profile that Mozilla recommends for such a server.

usage: scan.py PORT KEY VERSION, where KEY is `rsa` or `ecdsa`, the kind of the server's key, and VERSION
is the oldest that it takes, 1.2 or 1.3
"""

import sys
import warnings

# The warnings concern old CAs in sslyze's own lists, which this scan does not use.
warnings.filterwarnings("ignore", module="sslyze")

from sslyze import (
    RobotScanResultEnum,
    Scanner,
    ScanCommand,
    ScanCommandAttemptStatusEnum,
    ServerNetworkLocation,
    ServerScanRequest,
    ServerScanStatusEnum,
    TlsResumptionSupportEnum,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

from judge import judge

# Mozilla's profile for each oldest version.
PROFILES = {
    "1.2": TlsConfigurationEnum.MOZILLA_INTERMEDIATE,
    "1.3": TlsConfigurationEnum.MOZILLA_MODERN,
}

# All commands except the one that asks a web server for pages.
COMMANDS = set(ScanCommand) - {ScanCommand.HTTP_HEADERS}

SUITES_1_3 = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
SUITES_1_2 = {
    "TLS_ECDHE_{}_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_{}_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_{}_WITH_CHACHA20_POLY1305_SHA256",
}
CURVES = {"X25519", "secp256r1", "secp384r1"}

# The known deviations, each with its reason.
DEVIATIONS = {
    "certificate_path_validation": "the certificate is one of the test's own, which no CA has signed",
}


def main(port, key, version):
    result = scan(port)
    results = dict(facts(result.scan_result, key.upper(), version))
    results.update(compliance(PROFILES[version], result))
    return judge(f"sslyze, {key}, from TLS {version}", results, DEVIATIONS)


def scan(port):
    scanner = Scanner()
    location = ServerNetworkLocation(hostname="localhost", ip_address="127.0.0.1", port=port)
    scanner.queue_scans([ServerScanRequest(server_location=location, scan_commands=COMMANDS)])
    [result] = scanner.get_results()
    if result.scan_status != ServerScanStatusEnum.COMPLETED:
        raise SystemExit(f"sslyze: no connection: {result.connectivity_error_trace}")
    for command in COMMANDS:
        attempt = getattr(result.scan_result, command.value)
        if attempt.status != ScanCommandAttemptStatusEnum.COMPLETED:
            raise SystemExit(f"sslyze: {command.value} came to no end: {attempt.error_trace}")
    return result


def facts(found, key, version):
    """Yields the name of each check, and its fault or None."""

    def suites(version):
        accepted = getattr(found, f"{version}_cipher_suites").result.accepted_cipher_suites
        return {suite.cipher_suite.name for suite in accepted}

    def same(name, actual, expected):
        return name, None if actual == expected else f"{actual}, not {expected}"

    for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"]:
        yield same(f"{old} is refused", suites(old), set())
    is_12 = version == "1.2"
    suites_1_2 = {name.format(key) for name in SUITES_1_2} if is_12 else set()
    yield same("suites of TLS 1.2", suites("tls_1_2"), suites_1_2)
    yield same("suites of TLS 1.3", suites("tls_1_3"), SUITES_1_3)
    curves = found.elliptic_curves.result.supported_curves
    yield same("curves", {curve.name for curve in curves}, CURVES)
    yield same("compression", found.tls_compression.result.supports_compression, False)
    yield same("early data", found.tls_1_3_early_data.result.supports_early_data, False)
    yield same("fallback SCSV", found.tls_fallback_scsv.result.supports_fallback_scsv, True)
    secret = found.tls_extended_master_secret.result
    yield same("extended master secret", secret.supports_ems_extension, True)
    ccs = found.openssl_ccs_injection.result
    yield same("CCS injection", ccs.is_vulnerable_to_ccs_injection, False)
    yield same("Heartbleed", found.heartbleed.result.is_vulnerable_to_heartbleed, False)
    robot = RobotScanResultEnum.NOT_VULNERABLE_RSA_NOT_SUPPORTED
    yield same("ROBOT", found.robot.result.robot_result, robot)
    again = found.session_renegotiation.result
    yield same("secure renegotiation is announced", again.supports_secure_renegotiation, True)
    yield same("renegotiations by the client", again.client_renegotiations_success_count, 0)
    resumed = found.session_resumption.result
    # sslyze tries to resume only with TLS 1.2.
    support = TlsResumptionSupportEnum
    unsupported = support.NOT_SUPPORTED if is_12 else support.SERVER_IS_TLS_1_3_ONLY
    yield same("resumption by id", resumed.session_id_resumption_result, unsupported)
    yield same("resumption by ticket", resumed.tls_ticket_resumption_result, unsupported)


def compliance(profile, result):
    """Maps each violation of Mozilla's profile, by sslyze's name for it, to its description."""
    issues = {}
    try:
        check_server_against_tls_configuration(result, MozillaTlsConfiguration.get(profile))
    except ServerNotCompliantWithTlsConfiguration as found:
        issues = found.issues
    return {f"{profile.value} profile, but for what is listed": None} | issues


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]) != 0)
