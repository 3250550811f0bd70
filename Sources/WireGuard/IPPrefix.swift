/// A network: an address whose bits after the prefix are zero. Allowed IPs and routes are these.
public struct IPPrefix: Hashable, Sendable {
    public let address: IPAddress
    public let length: UInt8

    /// Host bits are cleared, as the kernel does. Nil when the length exceeds the family's bits.
    public init?(_ address: IPAddress, length: UInt8) {
        guard length <= address.family.bitCount else { return nil }
        self.address = address.masked(to: length)
        self.length = length
    }

    /// The address alone: /32 or /128.
    public init(host address: IPAddress) {
        self.address = address
        length = address.family.bitCount
    }

    /// `address/length`, or an address alone.
    public init?(_ text: some StringProtocol) {
        let utf8 = Array(text.utf8)
        guard let prefix = utf8.withUnsafeBytes({ IPPrefix(text: $0) }) else { return nil }
        self = prefix
    }

    init?(text: UnsafeRawBufferPointer) {
        guard let slash = text.lastIndex(of: 0x2F) else {
            guard let address = IPAddress(text: text) else { return nil }
            self.init(host: address)
            return
        }
        let digits = UnsafeRawBufferPointer(rebasing: text[(slash + 1)...])
        guard let address = IPAddress(text: UnsafeRawBufferPointer(rebasing: text[..<slash])),
            let length = UInt8(decimal: digits)
        else { return nil }
        self.init(address, length: length)
    }

    public func contains(_ other: IPAddress) -> Bool {
        other.family == address.family && other.masked(to: length) == address
    }
}

extension IPPrefix: CustomStringConvertible {
    public var description: String {
        var output: [UInt8] = []
        appendText(to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    @_spi(Measuring) public func appendText(to output: inout [UInt8]) {
        address.appendText(to: &output)
        output.append(0x2F)
        if length >= 100 { output.append(0x31) }
        if length >= 10 { output.append(0x30 + length / 10 % 10) }
        output.append(0x30 + length % 10)
    }
}

extension IPPrefix: Comparable {
    public static func < (lhs: IPPrefix, rhs: IPPrefix) -> Bool {
        lhs.address == rhs.address ? lhs.length < rhs.length : lhs.address < rhs.address
    }
}

extension FixedWidthInteger {
    /// Plain decimal digits, no sign, no white space, no overflow.
    init?(decimal text: UnsafeRawBufferPointer) {
        guard !text.isEmpty, text.count <= 20 else { return nil }
        var value: Self = 0
        for byte in text {
            guard (0x30...0x39).contains(byte) else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(Self(byte - 0x30))
            guard !overflow, !carry else { return nil }
            value = sum
        }
        self = value
    }
}
