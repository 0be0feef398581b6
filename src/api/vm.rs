//! VMs over the wire.

use crate::schema;
use jiff::Timestamp;
use model::{ContextId, ImageFormat, SourceUri, VmName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A VM that the hub knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Unique name.
    #[schema(value_type = schema::VmName)]
    pub name: VmName,
    /// The same as `name`.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// Stable id.
    #[schema(value_type = schema::ContextId)]
    pub context_id: ContextId,
    /// The same as `context_id`.
    #[schema(value_type = schema::ContextId)]
    pub vm_context_id: ContextId,
    /// Its disks by index.
    pub disks: Vec<VmDisk>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its definition last changed.
    pub updated_at: Timestamp,
}

/// One disk of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmDisk {
    /// Position within the VM.
    pub disk_id: u32,
    /// 2000 + position.
    pub disk_key: u32,
    /// The controller's unit number, where the source has one.
    pub unit_number: Option<u32>,
    /// Where it is read from.
    #[schema(value_type = schema::SourceUri)]
    pub source: SourceUri,
    /// The format it is read as.
    #[schema(value_type = schema::ImageFormat)]
    pub format: ImageFormat,
    /// Size in bytes when it was last read; null before that.
    pub capacity_bytes: Option<u64>,
    /// What the disk's file is at its source, where that has a name of its own for it.
    pub backing: Option<String>,
    /// True where the source itself knows what has changed; false where contents are compared.
    pub change_tracking: bool,
}

impl From<&model::Vm> for Vm {
    fn from(vm: &model::Vm) -> Vm {
        Vm {
            name: vm.name.clone(),
            vm_name: vm.name.clone(),
            context_id: vm.context_id.clone(),
            vm_context_id: vm.context_id.clone(),
            disks: vm
                .disks
                .iter()
                .map(|disk| VmDisk {
                    disk_id: disk.index.0,
                    disk_key: disk.index.key(),
                    unit_number: None,
                    source: disk.source.clone(),
                    format: disk.source.format(),
                    capacity_bytes: disk.capacity_bytes,
                    backing: None,
                    change_tracking: false,
                })
                .collect(),
            created_at: vm.created_at,
            updated_at: vm.updated_at,
        }
    }
}

/// `POST /vms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// Unique name.
    #[serde(alias = "vm_name")]
    #[schema(value_type = schema::VmName)]
    pub name: VmName,
    /// Its disks in their order.
    #[serde(deserialize_with = "crate::request::objects")]
    #[schema(min_items = 1, max_items = 256)]
    pub disks: Vec<CreateVmDisk>,
    /// True to give a VM that exists these disks instead of its own.
    #[serde(default)]
    pub replace: bool,
}

/// One disk of a VM to register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVmDisk {
    /// Where it is read from.
    #[schema(value_type = schema::SourceUri)]
    pub source: SourceUri,
}

/// An answer that is one VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmAnswer {
    /// Always true.
    pub success: bool,
    /// The VM.
    pub vm: Vm,
}

/// A page of VMs, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmList {
    /// Always true.
    pub success: bool,
    /// This page.
    pub vms: Vec<Vm>,
    /// How many there are in all.
    pub total: u64,
}

/// The answer to a removal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VmDeleted {
    /// Always true.
    pub success: bool,
    /// What was done, for a person.
    pub message: String,
    /// Which one.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
}
