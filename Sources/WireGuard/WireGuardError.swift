import Base
import Glibc

/// What WireGuard, netlink, the UAPI socket, the address plan or a rotation refused.
public enum WireGuardError: CodedError, Equatable {
    /// No interface of that name, or it is no WireGuard interface.
    case noSuchDevice(name: String)
    /// The kernel has no WireGuard (no generic netlink family, no link kind).
    case kernelUnsupported
    /// The caller lacks CAP_NET_ADMIN, or the socket is another user's.
    case permission(operation: String, element: String)
    /// The operating system refused a call. `detail` is the kernel's own sentence where it gave one.
    case system(operation: String, element: String, errno: Int32, detail: String)
    /// Bytes from the kernel or from a UAPI socket that do not have the documented form.
    case malformed(what: String, why: String)
    /// The device changed under every attempt to read it whole.
    case dumpInterrupted(device: String, attempts: Int)
    /// More than a named limit allows.
    case limit(what: String, limit: Int)
    /// A key that is not 32 bytes of base64 in the field's form. Never holds the key.
    case invalidKey(source: String)
    /// A key file that others can read or write, or that is another user's.
    case keyFileExposed(path: String, mode: UInt32, owner: UInt32)
    case invalidText(what: String, text: String)
    /// The same allowed IP for two peers: WireGuard would give it to the last one without a word.
    case allowedIPTwice(prefix: String, first: String, second: String)
    case peerTwice(peer: String)
    /// No peer with this key, or it is unusable for the operation.
    case noSuchPeer(peer: String, device: String)
    case userspaceUnavailable(program: String, why: String)
    /// A daemon with another key serves an interface of this name in another network namespace.
    case heldElsewhere(name: String, socket: String)
    /// A file below a WireGuard state directory could not be read or written.
    case file(FileSystemError)
    case addressPlan(why: String)
    case rotation(phase: String, why: String)
    /// A hub descriptor that is not signed, not newer, or not meant for this device.
    case descriptor(why: String)
    case timeFloor(why: String)

    public var code: String {
        switch self {
        case .noSuchDevice: "wireguard.no-such-device"
        case .kernelUnsupported: "wireguard.kernel-unsupported"
        case .permission: "wireguard.permission"
        case .system: "wireguard.system"
        case .malformed: "wireguard.malformed"
        case .dumpInterrupted: "wireguard.dump-interrupted"
        case .limit: "wireguard.limit"
        case .invalidKey: "wireguard.invalid-key"
        case .keyFileExposed: "wireguard.key-file-exposed"
        case .invalidText: "wireguard.invalid-text"
        case .allowedIPTwice: "wireguard.allowed-ip-twice"
        case .peerTwice: "wireguard.peer-twice"
        case .noSuchPeer: "wireguard.no-such-peer"
        case .userspaceUnavailable: "wireguard.userspace-unavailable"
        case .heldElsewhere: "wireguard.held-elsewhere"
        case .file(let error): error.code
        case .addressPlan: "wireguard.address-plan"
        case .rotation: "wireguard.rotation"
        case .descriptor: "wireguard.descriptor"
        case .timeFloor: "wireguard.time-floor"
        }
    }

    public var message: String {
        switch self {
        case .noSuchDevice(let name): "there is no WireGuard interface \(name)"
        case .kernelUnsupported: "this kernel has no WireGuard"
        case .permission(let operation, let element): "not allowed to \(operation) \(element)"
        case .system(let operation, let element, let errno, let detail):
            "cannot \(operation) \(element): \(String(cString: strerror(errno)))\(detail.isEmpty ? "" : " (\(detail))")"
        case .malformed(let what, let why): "malformed \(what): \(why)"
        case .dumpInterrupted(let device, let attempts):
            "\(device) changed during each of \(attempts) attempts to read it"
        case .limit(let what, let limit): "more than \(limit) \(what)"
        case .invalidKey(let source): "\(source) is not a WireGuard key (44 characters of base64)"
        case .keyFileExposed(let path, let mode, let owner):
            "key file \(path) has mode \(String(mode, radix: 8)) and owner \(owner); others may know the key"
        case .invalidText(let what, let text): "'\(text.prefix(80))' is not \(what)"
        case .allowedIPTwice(let prefix, let first, let second):
            "allowed IP \(prefix) belongs to peer \(first) and to peer \(second)"
        case .peerTwice(let peer): "peer \(peer) is listed twice"
        case .noSuchPeer(let peer, let device): "\(device) has no peer \(peer)"
        case .userspaceUnavailable(let program, let why): "cannot run \(program): \(why)"
        case .heldElsewhere(let name, let socket):
            "\(socket) belongs to an interface \(name) of another network namespace, under another key"
        case .file(let error): error.message
        case .addressPlan(let why): "address plan: \(why)"
        case .rotation(let phase, let why): "key rotation stopped while \(phase): \(why)"
        case .descriptor(let why): "hub descriptor refused: \(why)"
        case .timeFloor(let why): "time floor not applied: \(why)"
        }
    }

    public var hint: String? {
        switch self {
        case .noSuchDevice: "list interfaces with `holdfast wg show`"
        case .kernelUnsupported: "load the wireguard module, or install wireguard-go"
        case .permission: "run as root or with CAP_NET_ADMIN"
        case .keyFileExposed(let path, _, _): "make a new key; then chown and chmod 0600 \(path)"
        case .dumpInterrupted: "run it again when fewer peers change"
        case .userspaceUnavailable: "install wireguard-go, or a kernel with WireGuard"
        case .heldElsewhere(_, let socket):
            "choose another interface name, or end the daemon that serves it by removing \(socket)"
        case .file(let error): error.hint
        default: nil
        }
    }

    public var exitStatus: ExitStatus {
        switch self {
        case .noSuchDevice, .noSuchPeer: .noInput
        case .kernelUnsupported, .userspaceUnavailable, .heldElsewhere: .unavailable
        case .permission, .keyFileExposed: .noPermission
        case .system, .timeFloor: .osError
        case .malformed, .limit, .invalidKey, .invalidText, .allowedIPTwice, .peerTwice, .addressPlan: .dataError
        case .dumpInterrupted, .rotation: .temporaryFailure
        case .file(let error): error.exitStatus
        case .descriptor: .notTrusted
        }
    }

    /// The error for a failed call, so that EPERM and ENODEV read the same from every backend.
    static func failure(_ operation: String, _ element: String, errno: Int32, detail: String = "") -> WireGuardError {
        switch errno {
        case EPERM, EACCES: .permission(operation: operation, element: element)
        case ENODEV: .noSuchDevice(name: element)
        default: .system(operation: operation, element: element, errno: errno, detail: detail)
        }
    }
}

/// Runs `body` with its file system error as ours.
func mappingFileErrors<Value>(_ body: () throws(FileSystemError) -> Value) throws(WireGuardError) -> Value {
    do throws(FileSystemError) { return try body() } catch { throw .file(error) }
}
