"""All tables; importing this package puts every one of them on `redflag_store.metadata.metadata`."""

from redflag_store.tables.agents import AccessGeneration, Agent, AgentKey
from redflag_store.tables.commands import Command, CommandEvent, Outbox
from redflag_store.tables.events import SystemEvent
from redflag_store.tables.groups import AgentGroup, AgentGroupMember
from redflag_store.tables.host_figures import HostMetric, HostStorage, HostSystem, StorageVolume
from redflag_store.tables.inventories import AgentInventory, AgentUpdateCount, Tally, UpdateTally
from redflag_store.tables.jobs import Job, JobItem
from redflag_store.tables.rates import AgentRate, FleetRate
from redflag_store.tables.reports import ReportInbox
from redflag_store.tables.settings import StoredSetting
from redflag_store.tables.subsystems import Subsystem, SubsystemDefault, SubsystemRevision
from redflag_store.tables.trust import (
    ApiKey,
    EnrollmentToken,
    Enrolment,
    IdempotencyKey,
    Intent,
    KeyManifest,
    SigningLog,
)
from redflag_store.tables.updates import Approval, PackageState, UpdateEvent, UpdateHistory, UpdatePlan

__all__ = [
    "AccessGeneration",
    "Agent",
    "AgentGroup",
    "AgentGroupMember",
    "AgentInventory",
    "AgentKey",
    "AgentRate",
    "AgentUpdateCount",
    "ApiKey",
    "Approval",
    "Command",
    "CommandEvent",
    "EnrollmentToken",
    "Enrolment",
    "FleetRate",
    "HostMetric",
    "HostStorage",
    "HostSystem",
    "IdempotencyKey",
    "Intent",
    "Job",
    "JobItem",
    "KeyManifest",
    "Outbox",
    "PackageState",
    "ReportInbox",
    "SigningLog",
    "StorageVolume",
    "StoredSetting",
    "Subsystem",
    "SubsystemDefault",
    "SubsystemRevision",
    "SystemEvent",
    "Tally",
    "UpdateEvent",
    "UpdateHistory",
    "UpdatePlan",
    "UpdateTally",
]
