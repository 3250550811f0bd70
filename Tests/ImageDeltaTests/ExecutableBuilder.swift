import TestSupport

/// Builds small ELF64 files whose functions, data and symbols move when one is inserted: calls, relative loads, a
/// switch table, an unwind index, pointers and a symbol table all change with it.
struct ExecutableBuilder {
    enum Machine: UInt16 { case x86_64 = 62, aarch64 = 183 }

    private static let codeAddress = 0x1000
    private static let unwindAddress = 0x9_0000
    private static let dataAddress = 0xA_0000

    let machine: Machine
    /// Bytes of each function, its calls not counted; they stand for what a compiler made.
    var functions: [[UInt8]]

    init(_ machine: Machine, count: Int, random: inout SplitMix64) {
        self.machine = machine
        functions = (0..<count).map { _ in random.bytes(Int.random(in: 4...20, using: &random) * 4) }
    }

    func build() -> [UInt8] {
        var addresses: [Int] = []
        var end = Self.codeAddress
        for function in functions {
            addresses.append(end)
            end += function.count + 24
        }
        var code: [UInt8] = []
        for (index, function) in functions.enumerated() {
            code += function
            let callee = addresses[(index * 7 + 3) % addresses.count]
            let datum = Self.dataAddress + functions.count * 8 + index % 50 * 16 + (functions.count > 300 ? 64 : 0)
            code += reference(at: addresses[index] + function.count, callee: callee, datum: datum)
        }
        let index = addresses.flatMap { Self.little($0 - Self.unwindAddress, 4) }
            + addresses.enumerated().flatMap { Self.little($1 - (Self.unwindAddress + ($0 + addresses.count) * 4), 4) }
        let pointers = addresses.flatMap { Self.little($0, 8) } + [UInt8](repeating: 0, count: 4096)
        let names = addresses.indices.map { Array("f_\(String($0 * 7919, radix: 36))".utf8) + [0] }
        return assemble(code, index, pointers, addresses: addresses, names: names)
    }

    private func reference(at address: Int, callee: Int, datum: Int) -> [UInt8] {
        switch machine {
        case .x86_64:
            // call; mov rax, [rip + datum]; vmovdqa ymm0, [rip + datum]
            [0xE8] + Self.little(callee - (address + 5), 4)
                + [0x48, 0x8B, 0x05] + Self.little(datum - (address + 12), 4)
                + [0xC5, 0xFD, 0x6F, 0x05] + Self.little(datum - (address + 20), 4) + [0x90, 0x90, 0x90, 0xC3]
        case .aarch64:
            branch(address, callee) + page(address + 4, datum) + Self.little(0x9100_0000 | (datum & 0xFFF) << 10, 4)
                + page(address + 12, datum) + Self.little(0xF940_0001 | ((datum & 0xFFF) >> 3) << 10 | 1 << 5, 4)
                + Self.little(0xD65F_03C0, 4)
        }
    }

    private func branch(_ from: Int, _ to: Int) -> [UInt8] {
        Self.little(0x9400_0000 | ((to - from) >> 2) & 0x3FF_FFFF, 4)
    }

    private func page(_ from: Int, _ to: Int) -> [UInt8] {
        let pages = (to >> 12) - (from >> 12)
        let register = (from / 4) % 2
        return Self.little(0x9000_0000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5 | register, 4)
    }

    private func assemble(
        _ code: [UInt8], _ index: [UInt8], _ pointers: [UInt8], addresses: [Int], names: [[UInt8]]
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.codeAddress)
        bytes += code
        let indexOffset = bytes.count
        bytes += index
        bytes += [UInt8](repeating: 0, count: (8 - bytes.count % 8) % 8)
        let dataOffset = bytes.count
        bytes += pointers
        let nameOffset = bytes.count
        var starts: [Int] = []
        var table: [UInt8] = [0]
        for name in names {
            starts.append(table.count)
            table += name
        }
        bytes += table + [UInt8](repeating: 0, count: (8 - table.count % 8) % 8)
        let symbolOffset = bytes.count
        for (start, address) in zip(starts, addresses) {
            bytes += Self.little(start, 4) + [0x12, 0, 1, 0] + Self.little(address, 8) + Self.little(32, 8)
        }
        let sections = bytes.count
        bytes += Self.section(type: 0, 0, 0, link: 0)
        bytes += Self.section(type: 2, symbolOffset, starts.count * 24, link: 2)
        bytes += Self.section(type: 3, nameOffset, table.count, link: 0)
        var head: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
        head += Self.little(3, 2) + Self.little(Int(machine.rawValue), 2) + Self.little(1, 4) + Self.little(0x1000, 8)
        head += Self.little(64, 8) + Self.little(sections, 8) + Self.little(0, 4)
        for value in [64, 56, 4, 64, 3, 0] { head += Self.little(value, 2) }
        head += Self.segment(1, 0, 0, Self.codeAddress + code.count)
        head += Self.segment(1, indexOffset, Self.unwindAddress, index.count)
        head += Self.segment(1, dataOffset, Self.dataAddress, pointers.count)
        head += Self.segment(0x6474_E550, indexOffset, Self.unwindAddress, index.count)
        bytes.replaceSubrange(0..<head.count, with: head)
        return bytes
    }

    private static func segment(_ type: Int, _ offset: Int, _ address: Int, _ size: Int) -> [UInt8] {
        little(type, 4) + little(5, 4) + [offset, address, address, size, size, 0x1000].flatMap { little($0, 8) }
    }

    private static func section(type: Int, _ offset: Int, _ size: Int, link: Int) -> [UInt8] {
        little(0, 4) + little(type, 4) + [0, 0, offset, size].flatMap { little($0, 8) } + little(link, 4) + little(0, 4)
            + little(8, 8) + little(type == 2 ? 24 : 0, 8)
    }

    static func little(_ value: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
}
