-- What keeps restore points open for longer than one command. Only what SQLite and MariaDB both understand.

CREATE TABLE restore_mounts (
    id VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    backup_id VARCHAR(200),
    vm_name VARCHAR(128) NOT NULL,
    path TEXT,
    detail LONGTEXT NOT NULL,
    idle_seconds BIGINT NOT NULL,
    created_at VARCHAR(30) NOT NULL,
    used_at VARCHAR(30) NOT NULL,
    expires_at VARCHAR(30) NOT NULL,
    stop_requested BIGINT NOT NULL DEFAULT 0,
    host VARCHAR(255) NOT NULL,
    machine_id VARCHAR(64) NOT NULL,
    boot_id VARCHAR(64) NOT NULL,
    pid BIGINT NOT NULL,
    pid_start_ticks BIGINT NOT NULL,
    pid_namespace VARCHAR(64) NOT NULL,
    heartbeat_at VARCHAR(30) NOT NULL,
    PRIMARY KEY (id)
);
