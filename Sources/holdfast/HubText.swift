import Base
import CLISupport
import Model

/// How a hub's records look as tables.
enum HubText {
    static func text(_ value: JSONValue?) -> String {
        switch value {
        case nil, .null: "-"
        case .string(let text): text
        case .integer(let number): String(number)
        case .bool(let flag): flag ? "yes" : "no"
        default: Formatting.value(value)
        }
    }

    static func labels(_ value: JSONValue?) -> String {
        let labels = (value?.object ?? [:]).map { "\($0.key)=\(text($0.value))" }.sorted()
        return labels.isEmpty ? "-" : labels.joined(separator: ",")
    }

    /// One row a record; columns by member name, under titles of their own.
    static func table(_ items: [JSONValue], _ columns: KeyValuePairs<String, String>) -> Table {
        var table = Table()
        table.titles = columns.map(\.key)
        for item in items {
            table.add(columns.map { $0.value == "labels" ? labels(item["labels"]) : text(item[$0.value]) })
        }
        return table
    }

    /// One record, a line a member.
    static func lines(_ item: JSONValue) -> String {
        let members = (item.object ?? [:]).sorted { $0.key < $1.key }
        let width = members.map(\.key.count).max() ?? 0
        return members.map { name, value in
            let shown = name == "labels" ? labels(value) : text(value)
            return TerminalText.sanitized("\(name)\(String(repeating: " ", count: width - name.count))  \(shown)")
        }.joined(separator: "\n")
    }

    static func devices(_ items: [JSONValue]) -> Table {
        table(
            items,
            [
                "device": "id", "state": "state", "host": "hostname", "arch": "architecture", "enrolled": "enrolled_at",
                "labels": "labels",
            ])
    }

    static func tokens(_ items: [JSONValue]) -> Table {
        table(
            items,
            [
                "token": "id", "state": "state", "used": "used", "uses": "uses", "approval": "approval",
                "expires": "expires", "labels": "labels",
            ])
    }

    static func fleets(_ items: [JSONValue]) -> Table {
        table(items, ["fleet": "id", "selector": "selector", "description": "description"])
    }

    static func operators(_ items: [JSONValue]) -> Table {
        var table = Table("operator", "locked", "since", "scopes")
        for item in items {
            table.add([
                text(item["id"]), text(item["locked"]), text(item["made_at"]),
                (item["scopes"]?.array ?? []).map { text($0) }.joined(separator: " "),
            ])
        }
        return table
    }

    static func assignments(_ items: [JSONValue]) -> Table {
        var table = Table("assignment", "app", "version", "for", "priority", "since")
        for item in items {
            let target =
                item["fleet"]?.string.map { "fleet \($0)" } ?? item["device"]?.string.map { "device \($0)" } ?? "-"
            table.add([
                text(item["id"]), text(item["app"]), text(item["version"]), target, text(item["priority"]),
                text(item["made_at"]),
            ])
        }
        return table
    }

    /// The hub's keys, a line each, and who has to follow.
    static func key(_ item: JSONValue) -> String {
        var table = Table("key", "state", "endpoint", "since")
        for end in item["ends"]?.array ?? [] {
            table.add([text(end["public_key"]), text(end["state"]), text(end["endpoint"]), text(end["since"])])
        }
        let behind = item["devices_behind"]?.integer ?? 0
        let names = (item["behind"]?.array ?? []).map { text($0) }.joined(separator: " ")
        return table.rendered() + (behind > 0 ? "\n\(behind) devices have still to follow: \(names)" : "")
    }

    static func peers(_ items: [JSONValue]) -> Table {
        var table = Table("peer", "endpoint", "handshake", "received", "sent", "allowed ips")
        for item in items {
            table.add([
                text(item["public_key"]), text(item["endpoint"]), text(item["last_handshake"]),
                text(item["received_bytes"]), text(item["sent_bytes"]),
                (item["allowed_ips"]?.array ?? []).map { text($0) }.joined(separator: ","),
            ])
        }
        return table
    }

    /// An audit event on one line: when, what, to whom, by whom.
    static func event(_ index: String, _ event: JSONValue) -> String {
        let fields = (event["fields"]?.object ?? [:]).map { "\($0.key)=\(text($0.value))" }.sorted()
        let parts = [index, text(event["at"]), text(event["kind"]), text(event["subject"]), "by", text(event["actor"])]
        return TerminalText.sanitized((parts + fields).joined(separator: " "))
    }
}
