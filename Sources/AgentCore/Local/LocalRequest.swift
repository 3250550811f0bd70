import Base
import Model

/// One call of the local API, parsed and bounded.
public struct LocalRequest: Sendable {
    /// Bytes of a request body.
    public static let bodyLimit = 8 << 20
    /// Bytes of a request target.
    public static let targetLimit = 8 << 10

    public var method: String
    /// Without the query.
    public var path: String
    public var query: [String: String]
    public var body: [UInt8]
    /// Who is at the other end, from the kernel.
    public var peer: Peer

    public struct Peer: Hashable, Sendable {
        public var pid: Int32
        public var uid: UInt32
        public var gid: UInt32
        public init(pid: Int32, uid: UInt32, gid: UInt32) {
            self.pid = pid
            self.uid = uid
            self.gid = gid
        }
    }

    /// Nil for a target that is not an origin-form of plain text.
    public init?(method: String, target: String, body: [UInt8], peer: Peer) {
        guard target.hasPrefix("/"), target.utf8.count <= Self.targetLimit else { return nil }
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        self.method = method
        path = String(parts[0])
        query = [:]
        for pair in (parts.count > 1 ? parts[1] : "").split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let key = PercentCoding.decode(halves[0]),
                let value = PercentCoding.decode(halves.count > 1 ? halves[1] : "")
            else { return nil }
            query[key] = value
        }
        self.body = body
        self.peer = peer
    }
}

/// Percent-encoding of RFC 3986, section 2.1.
enum PercentCoding {
    static func encode(_ text: String) -> String {
        var output = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
                output.append(Character(Unicode.Scalar(byte)))
            default: output += "%" + Hex.encode([byte])
            }
        }
        return output
    }

    static func decode(_ text: some StringProtocol) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let decoded = Hex.decode(String(decoding: rest.prefix(2), as: UTF8.self)) else {
                return nil
            }
            bytes += decoded
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

/// The answer: one document, or JSON values one a line for as long as they come.
public enum LocalResponse: Sendable {
    case document(JSONValue)
    case stream(PullSequence<JSONValue>)
}

/// An error as the local API sends it: everything the command line needs to say it as its own.
public struct RemoteError: CodedError {
    public var code: String
    public var message: String
    public var hint: String?
    public var exitStatus: ExitStatus

    public init(_ error: any CodedError) {
        code = error.code
        message = error.message
        hint = error.hint
        exitStatus = error.exitStatus
    }

    public init?(_ json: JSONValue) {
        guard let code = json["code"]?.string, let message = json["message"]?.string else { return nil }
        self.code = code
        self.message = message
        hint = json["hint"]?.string
        exitStatus =
            json["exitStatus"]?.integer.flatMap { ExitStatus(rawValue: Int32(truncatingIfNeeded: $0)) } ?? .failure
    }

    public var json: JSONValue {
        var members: [String: JSONValue] = [
            "code": .string(code), "message": .string(message), "exitStatus": .integer(Int64(exitStatus.rawValue)),
        ]
        if let hint { members["hint"] = .string(hint) }
        return .object(members)
    }
}
