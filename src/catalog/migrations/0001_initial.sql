-- The tables of the first release. Only what SQLite and MariaDB both understand: see docs/database.md.

CREATE TABLE vm_contexts (
    context_id VARCHAR(200) NOT NULL,
    vm_name VARCHAR(128) NOT NULL,
    source_id VARCHAR(64) NOT NULL,
    created_at VARCHAR(30) NOT NULL,
    updated_at VARCHAR(30) NOT NULL,
    PRIMARY KEY (context_id),
    UNIQUE (source_id, vm_name)
);

CREATE TABLE vm_disks (
    vm_context_id VARCHAR(200) NOT NULL,
    disk_index BIGINT NOT NULL,
    disk_key BIGINT NOT NULL,
    source_uri TEXT NOT NULL,
    size_gb BIGINT,
    capacity_bytes BIGINT,
    PRIMARY KEY (vm_context_id, disk_index),
    FOREIGN KEY (vm_context_id) REFERENCES vm_contexts (context_id)
);

CREATE TABLE backup_repositories (
    id VARCHAR(64) NOT NULL,
    name VARCHAR(64) NOT NULL,
    repository_type VARCHAR(16) NOT NULL,
    config TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    is_default BIGINT NOT NULL,
    immutable BIGINT NOT NULL,
    reserve_bytes BIGINT,
    total_size_bytes BIGINT,
    available_size_bytes BIGINT,
    created_at VARCHAR(30) NOT NULL,
    updated_at VARCHAR(30) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);

CREATE TABLE backup_jobs (
    id VARCHAR(200) NOT NULL,
    vm_context_id VARCHAR(200) NOT NULL,
    vm_name VARCHAR(128) NOT NULL,
    requested_type VARCHAR(16) NOT NULL,
    backup_type VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    current_phase VARCHAR(16) NOT NULL DEFAULT 'pending',
    repository_id VARCHAR(64) NOT NULL,
    repository_type VARCHAR(16) NOT NULL,
    repository_path TEXT NOT NULL,
    parent_backup_id VARCHAR(200),
    change_id TEXT,
    fallback_reason TEXT,
    bytes_transferred BIGINT NOT NULL DEFAULT 0,
    total_bytes BIGINT NOT NULL DEFAULT 0,
    bytes_processed BIGINT NOT NULL DEFAULT 0,
    size_bytes BIGINT NOT NULL DEFAULT 0,
    progress_percent DOUBLE NOT NULL DEFAULT 0.00,
    transfer_speed_bps BIGINT NOT NULL DEFAULT 0,
    eta_seconds BIGINT DEFAULT 0,
    last_telemetry_at VARCHAR(30),
    error_message TEXT,
    error_code VARCHAR(64),
    notes TEXT,
    protected BIGINT NOT NULL DEFAULT 0,
    protect_reason TEXT,
    compression VARCHAR(16) NOT NULL,
    compression_enabled BIGINT NOT NULL,
    on_cbt_loss VARCHAR(16) NOT NULL,
    timeout_seconds BIGINT NOT NULL,
    bandwidth_limit_bps BIGINT,
    verified_at VARCHAR(30),
    verified_ok BIGINT,
    verified_whole BIGINT,
    verified_problems LONGTEXT,
    created_at VARCHAR(30) NOT NULL,
    started_at VARCHAR(30),
    completed_at VARCHAR(30),
    -- What the record of a point does not hold: how the engine works on it.
    request LONGTEXT,
    generation BIGINT NOT NULL DEFAULT 1,
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    deleting_lease_id VARCHAR(36),
    PRIMARY KEY (id)
);
-- With the id, so that a late page skips the rows before it without reading them.
CREATE INDEX idx_created_at ON backup_jobs (created_at, id);
CREATE INDEX idx_status ON backup_jobs (status, created_at);
CREATE INDEX idx_last_telemetry ON backup_jobs (status, last_telemetry_at);
CREATE INDEX idx_vm_name ON backup_jobs (vm_name, created_at);
CREATE INDEX idx_vm_context_id ON backup_jobs (vm_context_id, created_at);
CREATE INDEX idx_repository_id ON backup_jobs (repository_id, created_at);
-- Holds all that the usage of the repositories is summed up from.
CREATE INDEX idx_usage ON backup_jobs (status, repository_id, size_bytes);

CREATE TABLE backup_disks (
    backup_job_id VARCHAR(200) NOT NULL,
    disk_index BIGINT NOT NULL,
    disk_key BIGINT NOT NULL,
    source_uri TEXT NOT NULL,
    backup_type VARCHAR(16) NOT NULL,
    parent_backup_id VARCHAR(200),
    status VARCHAR(16) NOT NULL,
    size_gb BIGINT NOT NULL,
    capacity_bytes BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    bytes_transferred BIGINT NOT NULL DEFAULT 0,
    bytes_processed BIGINT NOT NULL DEFAULT 0,
    progress_percent DOUBLE NOT NULL DEFAULT 0.00,
    qcow2_path TEXT NOT NULL,
    nbd_export_name VARCHAR(64) NOT NULL,
    change_id TEXT,
    fallback_reason TEXT,
    blake3 VARCHAR(64),
    error_message TEXT,
    PRIMARY KEY (backup_job_id, disk_index),
    FOREIGN KEY (backup_job_id) REFERENCES backup_jobs (id)
);

CREATE TABLE backup_tags (
    backup_job_id VARCHAR(200) NOT NULL,
    tag_key VARCHAR(255) NOT NULL,
    tag_value TEXT NOT NULL,
    PRIMARY KEY (backup_job_id, tag_key),
    FOREIGN KEY (backup_job_id) REFERENCES backup_jobs (id)
);
CREATE INDEX idx_tag_key ON backup_tags (tag_key, backup_job_id);

CREATE TABLE backup_chains (
    id VARCHAR(255) NOT NULL,
    vm_context_id VARCHAR(200) NOT NULL,
    disk_id BIGINT NOT NULL,
    repository_id VARCHAR(64) NOT NULL,
    full_backup_id VARCHAR(200) NOT NULL,
    latest_backup_id VARCHAR(200) NOT NULL,
    total_backups BIGINT NOT NULL,
    total_size_bytes BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (vm_context_id, disk_id, full_backup_id)
);

CREATE TABLE jobs (
    id VARCHAR(200) NOT NULL,
    job_type VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    current_phase VARCHAR(16) NOT NULL DEFAULT 'pending',
    backup_id VARCHAR(200),
    vm_name VARCHAR(128),
    repository_id VARCHAR(64),
    bytes_transferred BIGINT NOT NULL DEFAULT 0,
    bytes_processed BIGINT NOT NULL DEFAULT 0,
    total_bytes BIGINT NOT NULL DEFAULT 0,
    progress_percent DOUBLE NOT NULL DEFAULT 0.00,
    transfer_speed_bps BIGINT NOT NULL DEFAULT 0,
    eta_seconds BIGINT DEFAULT 0,
    last_telemetry_at VARCHAR(30),
    error_message TEXT,
    error_code VARCHAR(64),
    request LONGTEXT,
    result LONGTEXT,
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    created_at VARCHAR(30) NOT NULL,
    started_at VARCHAR(30),
    completed_at VARCHAR(30),
    PRIMARY KEY (id)
);
CREATE INDEX idx_jobs_created_at ON jobs (created_at);
CREATE INDEX idx_jobs_status ON jobs (status, created_at);
CREATE INDEX idx_jobs_backup_id ON jobs (backup_id, created_at);

-- slot is 'exclusive' for the one exclusive lease of a resource and the lease's own id for a shared one:
-- the unique key alone keeps two exclusive leases apart.
CREATE TABLE leases (
    id VARCHAR(36) NOT NULL,
    resource VARCHAR(255) NOT NULL,
    slot VARCHAR(36) NOT NULL,
    lease_mode VARCHAR(16) NOT NULL,
    operation VARCHAR(64) NOT NULL,
    job_id VARCHAR(200),
    host VARCHAR(255) NOT NULL,
    machine_id VARCHAR(64) NOT NULL,
    boot_id VARCHAR(64) NOT NULL,
    pid BIGINT NOT NULL,
    pid_start_ticks BIGINT NOT NULL,
    pid_namespace VARCHAR(64) NOT NULL,
    acquired_at VARCHAR(30) NOT NULL,
    heartbeat_at VARCHAR(30) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (resource, slot)
);

CREATE TABLE audit_log (
    id VARCHAR(36) NOT NULL,
    logged_at VARCHAR(30) NOT NULL,
    actor VARCHAR(255) NOT NULL,
    action VARCHAR(64) NOT NULL,
    object VARCHAR(255) NOT NULL,
    detail TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX idx_audit_logged_at ON audit_log (logged_at);

CREATE TABLE job_log (
    id VARCHAR(36) NOT NULL,
    job_id VARCHAR(200) NOT NULL,
    logged_at VARCHAR(30) NOT NULL,
    level VARCHAR(16) NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX idx_job_log_job_id ON job_log (job_id, logged_at);
