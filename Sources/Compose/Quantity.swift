/// Numbers with units, as the Compose Specification writes them. All arithmetic is exact and checked.
enum Quantity {
    /// `1h5m30s20ms`, `1.5s`: nanoseconds. Units `ns us µs ms s m h`; nil for anything else or an overflow.
    static func duration(_ text: String) -> Int64? {
        var rest = Substring(text)
        guard !rest.isEmpty else { return nil }
        if rest == "0" { return 0 }
        var total: Int64 = 0
        while !rest.isEmpty {
            let number = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            rest = rest.dropFirst(number.count)
            let unit = rest.prefix { !($0.isASCII && ($0.isNumber || $0 == ".")) }
            rest = rest.dropFirst(unit.count)
            let scale: Int64
            switch unit {
            case "ns": scale = 1
            case "us", "µs", "μs": scale = 1000
            case "ms": scale = 1_000_000
            case "s": scale = 1_000_000_000
            case "m": scale = 60_000_000_000
            case "h": scale = 3_600_000_000_000
            default: return nil
            }
            guard let part = scaled(number, by: scale) else { return nil }
            let (sum, overflow) = total.addingReportingOverflow(part)
            guard !overflow else { return nil }
            total = sum
        }
        return total
    }

    /// `512`, `64k`, `300mb`, `1.5g`, `1GiB`: bytes, in powers of 1024.
    static func bytes(_ text: String) -> Int64? {
        let lower = text.lowercased()
        let number = lower.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard !number.isEmpty else { return nil }
        let unit = String(lower.dropFirst(number.count)).trimmed
        let shift: Int64
        switch unit {
        case "", "b": shift = 0
        case "k", "kb", "kib": shift = 10
        case "m", "mb", "mib": shift = 20
        case "g", "gb", "gib": shift = 30
        case "t", "tb", "tib": shift = 40
        default: return nil
        }
        return scaled(number, by: 1 << shift)
    }

    /// `0.5`, `2`: billionths.
    static func billionths(_ text: String) -> Int64? { scaled(Substring(text), by: 1_000_000_000) }

    /// A decimal number times `scale`, the rest below one cut off.
    static func scaled(_ text: Substring, by scale: Int64) -> Int64? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, text.utf8.count <= 30, text != ".",
            parts.allSatisfy({ $0.utf8.allSatisfy { (0x30...0x39).contains($0) } })
        else { return nil }
        let whole = parts[0].isEmpty ? 0 : Int64(parts[0])
        guard !text.isEmpty, let whole else { return nil }
        let (product, overflow) = whole.multipliedReportingOverflow(by: scale)
        guard !overflow else { return nil }
        guard parts.count == 2 else { return product }
        var fraction: Int64 = 0
        var unit = scale
        for digit in parts[1].utf8 {
            // Exact as long as the scale is divisible; beyond that digits are worth less than one.
            let worth = Int64(digit - 0x30)
            let (step, remainder) = unit.quotientAndRemainder(dividingBy: 10)
            fraction += step * worth + remainder * worth / 10
            unit = step
        }
        let (sum, sumOverflow) = product.addingReportingOverflow(fraction)
        return sumOverflow ? nil : sum
    }

    /// Whether YAML readers agree on the text of a plain number: `7`, `-3`, `0.5`; not `010`, `1e3`, `1.50`, `0x1f`.
    static func isCanonicalNumber(_ text: String) -> Bool {
        var digits = Substring(text)
        if digits.hasPrefix("-") { digits = digits.dropFirst() }
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, digits.utf8.count <= 16,
            parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } })
        else { return false }
        if parts[0].count > 1, parts[0].hasPrefix("0") { return false }
        return parts.count == 1 || !parts[1].hasSuffix("0")
    }

    /// Whether a plain scalar may be read as a number by YAML 1.1 or 1.2.
    static func looksLikeNumber(_ text: String) -> Bool {
        var rest = Substring(text)
        if let sign = rest.first, sign == "-" || sign == "+" { rest = rest.dropFirst() }
        if [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(rest) { return true }
        let lower = rest.lowercased()
        for (prefix, digits) in [("0x", "0123456789abcdef_"), ("0o", "01234567_"), ("0b", "01_")]
        where lower.hasPrefix(prefix) && lower.count > 2 {
            return lower.dropFirst(2).allSatisfy(digits.contains)
        }
        guard rest.contains(where: { $0.isASCII && $0.isNumber }),
            let first = rest.first, first == "." || (first.isASCII && first.isNumber)
        else { return false }
        var points = 0
        var exponents = 0
        var previous: Character = " "
        for character in rest {
            switch character {
            case "0"..."9", "_": break
            case ".": points += 1
            case "e", "E": exponents += 1
            case "+", "-": if previous != "e" && previous != "E" { return false }
            default: return false
            }
            previous = character
        }
        return points <= 1 && exponents <= 1 && (previous == "." || previous == "_" || previous.isNumber)
    }
}
