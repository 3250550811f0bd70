/// Fields of the Compose Specification that a release has no word for, with what to do instead.
enum UnsupportedFields {
    static let top: [String: String?] = [
        "include": "put everything into one file",
        "models": nil,
    ]

    static let service: [String: String?] = [
        "annotations": "use labels",
        "attach": "remove it; nothing is attached on a device",
        "blkio_config": nil,
        "build": "build the image first, remove build, and give it with --image SERVICE=SOURCE",
        "cgroup": nil,
        "cgroup_parent": nil,
        "container_name": "remove it; the agent names containers",
        "cpu_count": "use deploy.resources.limits.cpus",
        "cpu_percent": "use deploy.resources.limits.cpus",
        "cpu_period": "use deploy.resources.limits.cpus",
        "cpu_quota": "use deploy.resources.limits.cpus",
        "cpu_rt_period": nil,
        "cpu_rt_runtime": nil,
        "cpu_shares": "use deploy.resources.limits.cpus",
        "cpuset": nil,
        "credential_spec": nil,
        "develop": "remove it; it serves development only",
        "device_cgroup_rules": "use devices",
        "dns": nil,
        "dns_opt": nil,
        "dns_search": nil,
        "domainname": "use hostname",
        "extends": "use YAML anchors and << within the file",
        "external_links": "put the services on one network",
        "gpus": "use devices",
        "group_add": "use user",
        "ipc": nil,
        "isolation": nil,
        "label_file": "use labels",
        "links": "remove it; services on one network find each other by name",
        "mac_address": nil,
        "mem_swappiness": nil,
        "memswap_limit": "use deploy.resources.limits.memory",
        "models": nil,
        "oom_kill_disable": nil,
        "oom_score_adj": nil,
        "pid": nil,
        "platform": "use x-holdfast.requirements.architectures at the top level",
        "post_start": nil,
        "pre_stop": "use stop_signal and stop_grace_period",
        "profiles": "write one file per profile",
        "provider": nil,
        "pull_policy": "remove it; images come with the release",
        "pull_refresh_after": "remove it; images come with the release",
        "runtime": nil,
        "stdin_open": nil,
        "storage_opt": nil,
        "tty": nil,
        "use_api_socket": "mount the socket as a volume",
        "userns_mode": nil,
        "uts": nil,
        "volumes_from": "use named volumes",
    ]

    static let deploy: [String: String?] = [
        "endpoint_mode": nil,
        "labels": "use the labels of the service",
        "mode": "remove it; one container runs per service",
        "placement": "use x-holdfast.requirements at the top level",
        "rollback_config": "use x-holdfast.update at the top level",
        "update_config": "use x-holdfast.strategy of the service and x-holdfast.update at the top level",
    ]

    static let restartPolicy: [String: String?] = ["delay": nil, "window": nil]
    static let healthcheck: [String: String?] = ["start_interval": "use interval"]
    static let reservations: [String: String?] = [
        "cpus": "use limits.cpus", "devices": "use the devices of the service", "generic_resources": nil,
    ]
    static let attachment: [String: String?] = [
        "driver_opts": nil, "gw_priority": nil, "interface_name": nil, "link_local_ips": nil, "mac_address": nil,
        "priority": nil,
    ]
    static let mount: [String: String?] = ["consistency": "remove it", "image": nil]
    static let bind: [String: String?] = ["recursive": nil, "selinux": nil]
    static let volumeMount: [String: String?] = [
        "labels": "use the labels of the volume", "subpath": "mount the whole volume",
    ]
    static let network: [String: String?] = [
        "enable_ipv4": nil,
        "external": "remove it; the agent makes the networks of a release",
        "name": "remove it; the agent names networks",
    ]
    static let ipam: [String: String?] = ["options": nil]
    static let subnet: [String: String?] = ["aux_addresses": nil, "ip_range": nil]
    static let volume: [String: String?] = [
        "external": "remove it; the agent makes the volumes of a release",
        "name": "remove it; the agent names volumes",
    ]
    static let file: [String: String?] = [
        "driver": nil, "driver_opts": nil,
        "external": "use file; a release carries its configs and secrets",
        "labels": nil,
        "name": "remove it; the agent names configs and secrets",
        "template_driver": nil,
    ]
}
