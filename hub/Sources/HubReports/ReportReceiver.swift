import Base
import HubCore
import HubProtocol
import HubStore
import Trust

/// A device as its reports are judged: its id, and its key made ready for many of them.
public struct ReportingDevice: Sendable {
    let device: DeviceID
    let key: EnvelopeKey

    /// - Throws: `hub.device-state` for one that may not report.
    public init(_ device: Device) throws(HubError) {
        guard device.state == .active, let key = device.reportKey else {
            throw HubError(.deviceState, "device \(device.id)", "is \(device.state.rawValue) and may not report")
        }
        self.device = device.id
        self.key = EnvelopeKey(key)
    }
}

/// Takes in what devices report: checks each envelope with the device's own key, and hands the envelopes as they
/// came to the store, which keeps each once and commits those of many devices together.
///
/// The signed bytes are what is kept: they prove later who said it, without trust in this hub.
public struct ReportReceiver: Sendable {
    private let store: any MetadataStore
    private let clock: SystemClock

    public init(store: any MetadataStore, clock: SystemClock = .live) {
        self.store = store
        self.clock = clock
    }

    /// Takes envelopes of one device; what is good is taken whatever else is in the call.
    ///
    /// - Parameter device: by the tunnel and the token that the call came with; active.
    /// - Throws: `hub.device-state`, `hub.limit`, and what the store throws: then nothing counts as taken.
    public func receive(_ envelopes: [[UInt8]], from device: Device) async throws -> ReportAnswer {
        try await receive(envelopes, from: ReportingDevice(device))
    }

    /// The same of one whose key is kept ready.
    public func receive(_ envelopes: [[UInt8]], from reporter: ReportingDevice) async throws -> ReportAnswer {
        guard envelopes.count <= ReportBatch.envelopes else {
            throw HubError(.limit, "report", "\(envelopes.count) envelopes, at most \(ReportBatch.envelopes)")
        }
        var receipt = ReportAnswer()
        var segments: [(place: Int, segment: ReportSegment)] = []
        for (place, bytes) in envelopes.enumerated() {
            switch Self.segment(bytes, of: reporter) {
            case .success(let segment): segments.append((place, segment))
            case .failure(let refusal): receipt.refused[place] = refusal.reason
            }
        }
        guard !segments.isEmpty else { return receipt }
        let outcomes = try await store.ingest(segments.map(\.segment))
        var conflicts: [AuditEvent] = []
        for ((place, segment), outcome) in zip(segments, outcomes) {
            let known = receipt.acknowledged[segment.epoch] ?? 0
            receipt.acknowledged[segment.epoch] = max(known, outcome.acknowledged)
            switch outcome.fate {
            case .stored, .duplicate: continue
            case .ahead: receipt.refused[place] = .ahead
            case .conflict:
                receipt.refused[place] = .conflict
                conflicts.append(alarm(segment))
            }
        }
        if !conflicts.isEmpty { try await store.commit(Commit([], events: conflicts)) }
        return receipt
    }

    private struct Refused: Error { var reason: ReportAnswer.Refusal }

    private static func segment(
        _ bytes: [UInt8], of reporter: ReportingDevice
    ) -> Result<ReportSegment, Refused> {
        do {
            let report = try ReportHead(verifying: bytes, by: reporter.key)
            guard report.device == reporter.device.text else { return .failure(Refused(reason: .untrusted)) }
            return .success(
                ReportSegment(
                    device: reporter.device, epoch: report.epoch, sequence: report.sequence, body: bytes))
        } catch {
            return .failure(Refused(reason: error.reason == .signatureInvalid ? .untrusted : .malformed))
        }
    }

    private func alarm(_ segment: ReportSegment) -> AuditEvent {
        AuditEvent(
            .reportConflict, at: clock.now(), actor: "device:\(segment.device)", subject: "device:\(segment.device)",
            fields: [
                "epoch": String(segment.epoch), "sequence": String(segment.sequence),
                "digest": Digest.sha256(segment.body).description,
            ])
    }
}
