import Model

/// `ports` in short and long form, ranges spread out.
enum PortReader {
    static func ports(_ field: Field) throws(ComposeError) -> [(port: Service.Port, location: SourceLocation)] {
        var result: [(port: Service.Port, location: SourceLocation)] = []
        for entry in try field.elements() {
            for port in entry.isMap ? try long(entry) : try short(entry) {
                guard !result.contains(where: { $0.port == port }) else {
                    throw entry.fail(.duplicate, "port \(port.target)/\(port.protocol) is published twice the same way")
                }
                result.append((port, entry.location))
            }
            guard result.count <= ReleaseLimits.entries else {
                throw entry.fail(.limit, "more than \(ReleaseLimits.entries) ports")
            }
        }
        return result
    }

    /// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each port a number or a range.
    private static func short(_ field: Field) throws(ComposeError) -> [Service.Port] {
        let text = try field.word()
        var rest = Substring(text)
        var proto = "tcp"
        if let slash = rest.lastIndex(of: "/") {
            proto = try self.proto(String(rest[rest.index(after: slash)...]), field)
            rest = rest[..<slash]
        }
        var address: String?
        if rest.hasPrefix("[") {
            guard let close = rest.firstIndex(of: "]"), rest[rest.index(after: close)...].hasPrefix(":") else {
                throw malformed(text, field)
            }
            address = String(rest[rest.index(after: rest.startIndex)..<close])
            rest = rest[rest.index(close, offsetBy: 2)...]
        }
        var parts = rest.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if address == nil, parts.count == 3 { address = parts.removeFirst() }
        guard parts.count <= 2, let container = parts.last, address == nil || parts.count == 2 else {
            throw malformed(text, field)
        }
        let targets = try range(container, field)
        let host = parts.count == 2 && !parts[0].isEmpty ? try range(parts[0], field) : nil
        return try pair(targets, host, address: address, proto: proto, field)
    }

    private static func long(_ field: Field) throws(ComposeError) -> [Service.Port] {
        var reader = try FieldReader(field)
        let target = try reader.require("target")
        let targets = try range(try target.word(), target)
        guard targets.count == 1 else { throw target.fail(.value, "the long form takes one port") }
        let published = reader.take("published")
        let host =
            try published.map { field throws(ComposeError) in
                let text = try field.string()
                // Compose writes "" for a port that the engine chooses.
                return text.isEmpty ? nil : try range(text, field)
            } ?? nil
        let address = try reader.word("host_ip")
        let proto = try self.proto(try reader.word("protocol") ?? "tcp", field)
        if let mode = reader.take("mode") {
            // Without a cluster both publish on the device.
            guard ["host", "ingress"].contains(try mode.word()) else {
                throw mode.fail(.value, "\(mode.shown) is neither host nor ingress")
            }
        }
        // Names for people and tools; the specification gives them no effect on the container.
        _ = try reader.string("name")
        _ = try reader.string("app_protocol")
        try reader.finish()
        return try pair(targets, host, address: address, proto: proto, field)
    }

    private static func pair(
        _ targets: ClosedRange<UInt16>, _ host: ClosedRange<UInt16>?, address: String?, proto: String, _ field: Field
    ) throws(ComposeError) -> [Service.Port] {
        if let address, !NetworkAddress.isAddress(address) {
            throw field.fail(.value, "\"\(address)\" is no IP address")
        }
        guard let host else {
            return targets.map { Service.Port(hostIP: address, published: nil, target: $0, protocol: proto) }
        }
        guard host.count == targets.count else {
            throw field.fail(
                .value, "\(host.count) host ports for \(targets.count) container ports",
                hint: "give ranges of the same length; a device offers the port it was told, not one of a choice")
        }
        return zip(host, targets).map { Service.Port(hostIP: address, published: $0, target: $1, protocol: proto) }
    }

    static func checkExposed(_ field: Field) throws(ComposeError) {
        // Services on one network reach every port of each other: nothing is left to do but to check.
        for entry in try field.elements() {
            let parts = try entry.word().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            _ = try range(parts[0], entry)
            if parts.count > 1 { _ = try proto(parts[1], entry) }
        }
    }

    private static func range(_ text: String, _ field: Field) throws(ComposeError) -> ClosedRange<UInt16> {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { digits -> UInt16? in
            digits.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(digits) : nil
        }
        guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1], first > 0,
            first <= last
        else { throw field.fail(.value, "\"\(text)\" is no port (1 to 65535) or range of ports") }
        guard Int(last) - Int(first) < ComposeLimits.portRange else {
            throw field.fail(.limit, "the range \(text) has more than \(ComposeLimits.portRange) ports")
        }
        return first...last
    }

    private static func proto(_ text: String, _ field: Field) throws(ComposeError) -> String {
        let lower = text.lowercased()
        guard ["tcp", "udp", "sctp"].contains(lower) else {
            throw field.fail(.value, "the protocol \"\(text)\" is none of tcp, udp, sctp")
        }
        return lower
    }

    private static func malformed(_ text: String, _ field: Field) -> ComposeError {
        field.fail(
            .value, "\"\(text)\" is no port", hint: "write [[IP:]HOST:]CONTAINER[/PROTOCOL], such as \"8080:80\"")
    }
}
