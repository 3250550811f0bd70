import Glibc
import NIOCore

/// Ties a socket to one network interface, whatever the routes say. Source: socket(7), `SO_BINDTODEVICE`.
public enum InterfaceBinding {
    public struct Refused: Error, CustomStringConvertible {
        public var interface: String
        public var description: String { "\"\(interface)\" cannot be an interface's name" }
    }

    /// To be called before the channel connects or listens; connections that a listening socket takes are tied as it is.
    public static func tie(_ channel: any Channel, to interface: String) throws(Refused) -> EventLoopFuture<Void> {
        guard let name = InterfaceName(interface), let socket = channel as? any SocketOptionProvider else {
            throw Refused(interface: interface)
        }
        return socket.unsafeSetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_BINDTODEVICE), value: name)
    }
}
