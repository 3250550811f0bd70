import Base
import CLISupport
import Model
import Operator
import Trust

/// How results look, as tables and as JSON.
enum Formatting {
    static func keys(_ entries: [KeyStore.Entry]) -> Table {
        var table = Table("name", "keyid", "scheme", "protection")
        for entry in entries {
            table.add([entry.name, String(entry.keyID.prefix(16)), entry.publicKey.scheme, entry.protection.rawValue])
        }
        return table
    }

    static func report(_ report: SigningReport) -> JSONValue {
        [
            "published": .array(
                report.published.map { ["role": .string($0.role), "version": .integer($0.version)] }),
            "pending": .array(report.pending.map(pending)),
        ]
    }

    static func pending(_ wait: SigningReport.Pending) -> JSONValue {
        [
            "role": .string(wait.role), "version": .integer(wait.version), "have": .integer(Int64(wait.have)),
            "need": .integer(Int64(wait.need)), "former": .bool(wait.isOfFormerKeys),
            "missing": .array(wait.missing.map { .string($0) }),
        ]
    }

    /// One line per role that was published or waits.
    static func text(_ report: SigningReport) -> String {
        let lines =
            report.published.map { "published  \($0.role) version \($0.version)" }
            + report.pending.map { text($0) }
        return lines.isEmpty ? "nothing to sign" : lines.joined(separator: "\n")
    }

    static func text(_ wait: SigningReport.Pending) -> String {
        let keys = wait.missing.prefix(5).map { String($0.prefix(16)) }.joined(separator: ", ")
        let whose = wait.isOfFormerKeys ? " of the former keys" : ""
        let progress = "\(wait.have) of \(wait.need) signatures\(whose)"
        return "waiting    \(wait.role) version \(wait.version): \(progress); can sign: \(keys)"
    }

    static func target(_ target: ReleaseTarget) -> JSONValue {
        [
            "app": .string(target.app), "version": .string(target.version.description), "ctr": .integer(target.ctr),
            "epoch": .integer(target.epoch), "digest": .string(target.digest.description),
            "length": .integer(target.length), "path": .string(target.path),
            "selector": .object(target.selector.mapValues { .string($0) }),
            "architectures": .array(target.architectures.map { .string($0) }),
        ]
    }

    static func selector(_ target: ReleaseTarget) -> String {
        let labels = target.selector.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return (target.architectures + labels).joined(separator: " ")
    }

    /// A value as a difference shows it.
    static func value(_ value: JSONValue?) -> String {
        guard let value else { return "-" }
        if case .string(let text) = value { return text }
        return (try? value.serialized(.compact)).map { String(decoding: $0, as: UTF8.self) } ?? "?"
    }

    static func bytes(_ blobs: [Release.Blob]) -> ByteCount { ByteCount(blobs.reduce(0) { $0 + $1.size }) }
}

/// Shows the progress of one command whose steps report themselves.
final class ProgressBridge: Sendable {
    private let progress: Progress
    private let current = CurrentTask()

    init(_ console: Console) { progress = Progress(console) }

    func show(_ task: String, done: Int64, total: Int64?) {
        if current.change(to: task) {
            progress.start(task, total: total)
        }
        progress.update(done, total: total)
    }

    func finish() { progress.finish() }
}
