"""Why a command was refused or failed, in words. Pure.

The codes come from hosts, from the signer and from the server's own upkeep; a code that is not here is shown by its
name, which is written to be read.
"""

from typing import Final

_WORDS: Final = {
    # Refusals by the host, docs/protocol.md 5.
    "kind_policy": "the host's own policy does not allow this",
    "kind_unsupported": "the host's agent does not know how to do this",
    "kind_key": "the signing key may not order this",
    "policy_unreadable": "the host's policy cannot be read, so it allows nothing",
    "scan_only": "the host only looks for updates: its agent may not change anything",
    "manifest_expired": "the host's list of keys has expired",
    "package_policy": "the host's own policy does not allow one of the packages",
    "reboot_not_allowed": "the signed command itself does not allow a restart",
    "reboot_policy": "the host's own policy does not allow restarts",
    "life": "the command lives longer than its kind may",
    "expired": "the host got it too late",
    "cmd_conflict": "the host knows this command with other content",
    "stale": "the host has forgotten this command already and takes no older one",
    "cancelled": "it was cancelled",
    "too_late": "it could not be stopped any more; it goes on",
    # What went wrong in the work.
    "reboot_not_done": "the restart was ordered, but the host did not restart",
    "reboot_missed": "the host's agent did not run at the moment of the restart",
    "packages_at_work": "another program changes packages on the host",
    "lock_held": "another program holds the package manager's lock",
    "mirror_unreachable": "the package mirror could not be reached",
    "name_refused": "a package is named in a way the package manager does not use",
    "not_available": "the host's own package lists do not offer this",
    "held": "the host's administrator holds a package",
    "pinned": "the host's administrator pinned another version",
    "untrusted_source": "a package comes from an archive the host does not trust",
    "dpkg_interrupted": "an earlier run of the package manager was cut off; repair it on the host",
    "unresolvable": "the package manager found no way to do this",
    "install_not_possible": "the host only looks for updates",
    "program_missing": "the package manager's program is missing",
    "program_failed": "the package manager's program ended with an error",
    "program_timeout": "the package manager took longer than it may",
    "output_refused": "the package manager printed what cannot be understood",
    "config_refused": "the package manager's configuration is not usable",
    "plan_drift": "the host would do something else now than was planned",
    "crashed": "the agent stopped in the middle, and nobody can tell how it went",
    # Why a host of a job was given no command.
    "not_active": "the host is not active",
    "already_pending": "another command does this already",
    "too_many_pending": "too many commands of this host wait for their end",
    "rate_limited": "the host was asked for as much as its limit allows; it is tried again",
    "agent_too_old": "the host's agent is older than the oldest one that is asked",
    "manager_unknown": "the host has no such package manager",
    "manager_ambiguous": "the host has several package managers; name one",
    "nothing_to_do": "nothing is approved on the host",
    "too_many_packages": "too much is approved on the host for one plan",
    # The server's own words.
    "intent_refused": "what was asked for does not carry a valid signature of an operator",
    "host_silent": "the host did not say how it went in the time it has",
    "never_delivered": "the host never took it",
}


def in_words(code: str | None) -> str | None:
    """What a code means, in a few words; None for no code."""
    if not code:
        return None
    return _WORDS.get(code) or code.replace("_", " ")
