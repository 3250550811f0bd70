import HubCore
import HubProtocol
import HubReports
import HubStore

/// Report segments of many devices: signatures checked, each commit on the disk before its segments are acknowledged.
enum Ingest {
    static let devices = 200
    /// Segments that a device sends at a time.
    static let batch = 8

    static func run(_ path: String, count: Int) async throws {
        let fixture = try Fixture()
        let receiver = ReportReceiver(store: try SQLiteMetadataStore(path: path))
        let perDevice = count / devices
        // Signed before the clock starts: that is the devices' work.
        var work: [(device: Device, parts: [[[UInt8]]])] = []
        for number in 1...UInt64(devices) {
            let signer = try fixture.signer(number)
            let device = try fixture.device(number, signer: signer)
            let envelopes = try (1...perDevice).map { sequence in
                try ReportEnvelope(
                    device: device.id.text, epoch: 1, sequence: Int64(sequence),
                    content: [["kind": "metrics", "load": "0.42", "disk_free": 123_456_789]]
                ).signed(by: signer)
            }
            let parts = stride(from: 0, to: envelopes.count, by: batch).map {
                Array(envelopes[$0..<min($0 + batch, envelopes.count)])
            }
            work.append((device, parts))
        }
        let (start, cpu) = (HubBench.now(), HubBench.cpu())
        let acknowledged = try await withThrowingTaskGroup(of: Int64.self) { tasks in
            for (device, parts) in work {
                tasks.addTask {
                    var last: Int64 = 0
                    for part in parts { last = try await receiver.receive(part, from: device).acknowledged[1] ?? 0 }
                    return last
                }
            }
            return try await tasks.reduce(0, +)
        }
        let seconds = HubBench.now() - start
        let spent = HubBench.cpu() - cpu
        print(
            "segments \(acknowledged) seconds \(seconds) per_s \(Int(Double(acknowledged) / seconds)) "
                + "cpu_s \(spent) per_cpu_s \(Int(Double(acknowledged) / spent))")
    }
}
