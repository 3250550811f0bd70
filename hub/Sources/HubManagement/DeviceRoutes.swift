import Base
import HubCore
import HubEnrolment
import HubHTTP
import HubProtocol
import HubStore
import Model
import NIOHTTP1
import WireGuard

/// The fleet's devices.
struct DeviceRoutes: Sendable {
    private let services: ManagementServices

    init(_ services: ManagementServices) { self.services = services }

    var routes: [ManagementRoute] {
        [
            ManagementRoute(.GET, "/v1/devices", .devicesRead) { try await services.list(Device.self, $0) },
            ManagementRoute(.GET, "/v1/devices/{id}", .devicesRead) { try await services.show(Device.self, $0) },
            ManagementRoute(.PATCH, "/v1/devices/{id}", .devicesWrite, relabel),
            ManagementRoute(.DELETE, "/v1/devices/{id}", .devicesAdmit, delete),
            ManagementRoute(.POST, "/v1/devices/{id}/approve", .devicesAdmit) { request in
                try await change(request) { try DeviceRules.approve($0, by: request.actor, now: $1) }
            },
            ManagementRoute(.POST, "/v1/devices/{id}/reject", .devicesAdmit) { request in
                try await change(request) { try DeviceRules.reject($0, by: request.actor, now: $1) }
            },
            ManagementRoute(.POST, "/v1/devices/{id}/revoke", .devicesAdmit) { request in
                let reason = request.body.isEmpty ? "" : try request.document(["reason"])["reason"]?.string ?? ""
                return try await change(request) {
                    try DeviceRules.revoke($0, reason: reason, by: request.actor, now: $1)
                }
            },
            ManagementRoute(.POST, "/v1/devices/{id}/rotate-key", .devicesWrite) { request in
                try await change(request) { try DeviceRules.askForRotation($0, by: request.actor, now: $1) }
            },
        ]
    }

    private func relabel(_ request: ManagementRequest) async throws -> HTTPAnswer {
        guard let labels = try request.labels(request.document(["labels"])["labels"]) else {
            throw Problem.malformed("labels are needed")
        }
        return try await change(request) { DeviceRules.label($0, labels, by: request.actor, now: $1) }
    }

    private func delete(_ request: ManagementRequest) async throws -> HTTPAnswer {
        let (device, _) = try await services.find(Device.self, request)
        try await services.enrolment.delete(device.id, when: { try request.requireMatch($0) }, by: request.actor)
        return HTTPAnswer(.noContent)
    }

    private func change(
        _ request: ManagementRequest, _ rule: @Sendable (Device, Timestamp) throws -> DeviceRules.Change?
    ) async throws -> HTTPAnswer {
        let (device, _) = try await services.find(Device.self, request)
        _ = try await services.enrolment.change(device.id, when: { try request.requireMatch($0) }, rule)
        let (changed, next) = try await services.find(Device.self, request)
        return .json(changed.json(version: next), version: next)
    }
}

extension Device: ShownRecord {
    func json(version: Int64) -> JSONValue {
        [
            "id": .string(id.text), "version": .integer(version), "state": .string(state.rawValue),
            "labels": .object(labels.values.mapValues { .string($0) }), "architecture": .string(architecture),
            "hostname": .string(hostName), "signing_key": .string(signingKey), "site": .integer(Int64(site)),
            "token": .string(token.description), "enrolled_at": .string(enrolledAt.description),
            "key_since": .string((keySince ?? enrolledAt).description), "rotate_key": .bool(rotateKey ?? false),
            "wireguard_keys": .array(
                keys.sorted { $0.key.rawValue < $1.key.rawValue }.map {
                    [
                        "public_key": .string($1.key.base64), "slot": .integer(Int64($0.rawValue)),
                        "in_use": .bool($0 == slot),
                    ]
                }),
        ]
    }
}
