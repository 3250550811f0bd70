import Base
import Model

/// `volumes` in short and long form, and `tmpfs`.
enum MountReader {
    static func mount(_ field: Field) throws(ComposeError) -> Service.Mount {
        field.isMap ? try long(field) : try short(field)
    }

    /// `[SOURCE:]TARGET[:MODE]`.
    private static func short(_ field: Field) throws(ComposeError) -> Service.Mount {
        let text = try field.word()
        var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 3, !parts.contains("") else {
            throw field.fail(
                .value, "\"\(text)\" is no mount", hint: "write [SOURCE:]TARGET[:MODE], such as data:/var/lib/data")
        }
        guard parts.count > 1 else {
            return Service.Mount(kind: .volume, source: nil, target: try target(parts[0], field))
        }
        let modes = parts.count == 3 ? parts.removeLast().split(separator: ",").map(String.init) : []
        let isBind = parts[0].hasPrefix("/") || parts[0].hasPrefix(".") || parts[0].hasPrefix("~")
        var mount = Service.Mount(
            kind: isBind ? .bind : .volume, source: isBind ? try hostPath(parts[0], field) : parts[0],
            target: try target(parts[1], field), createHostPath: isBind)
        for mode in modes { try apply(mode, to: &mount, field) }
        return mount
    }

    private static func apply(_ mode: String, to mount: inout Service.Mount, _ field: Field) throws(ComposeError) {
        switch mode {
        case "rw": mount.readOnly = false
        case "ro": mount.readOnly = true
        case "nocopy" where mount.kind == .volume: mount.noCopy = true
        case _ where propagations.contains(mode) && mount.kind == .bind: mount.propagation = mode
        case "z", "Z": throw field.fail(.unsupportedField, "SELinux labels (\(mode)) are not supported")
        default: throw field.fail(.value, "the access mode \"\(mode)\" is unknown here", hint: "write ro or rw")
        }
    }

    private static let propagations: Set<String> = ["private", "rprivate", "shared", "rshared", "slave", "rslave"]

    private enum Kind: String, CaseIterable { case volume, bind, tmpfs }

    private static func long(_ field: Field) throws(ComposeError) -> Service.Mount {
        var reader = try FieldReader(field)
        let kind: Kind = try reader.require("type").choice()
        let source = reader.take("source")
        let targetField = try reader.require("target")
        var mount = Service.Mount(
            kind: .volume, source: nil, target: try target(try targetField.word(), targetField),
            readOnly: try reader.bool("read_only") ?? false)
        let options = ["bind": reader.take("bind"), "volume": reader.take("volume"), "tmpfs": reader.take("tmpfs")]
        for name in ["bind", "volume", "tmpfs"] where name != kind.rawValue {
            if let other = options[name] ?? nil { throw other.fail(.value, "goes with the type \(name) only") }
        }
        switch kind {
        case .volume:
            mount.source = try source?.word()
            if let volume = options["volume"] ?? nil {
                var reader = try FieldReader(volume)
                mount.noCopy = try reader.bool("nocopy") ?? false
                try reader.finish(unsupported: UnsupportedFields.volumeMount)
            }
        case .bind:
            guard let source else { throw field.fail(.missing, "a bind mount needs a source") }
            mount.kind = .bind
            mount.source = try hostPath(try source.word(), source)
            try bindOptions(options["bind"] ?? nil, &mount)
        case .tmpfs:
            if let source { throw source.fail(.value, "a tmpfs has no source") }
            mount.kind = .tmpfs
            if let tmpfs = options["tmpfs"] ?? nil {
                var reader = try FieldReader(tmpfs)
                mount.tmpfsSize = try reader.take("size")?.bytes()
                mount.tmpfsMode = try reader.take("mode")?.mode()
                try reader.finish()
            }
        }
        try reader.finish(unsupported: UnsupportedFields.mount)
        return mount
    }

    private static func bindOptions(_ field: Field?, _ mount: inout Service.Mount) throws(ComposeError) {
        mount.createHostPath = true
        guard let field else { return }
        var reader = try FieldReader(field)
        mount.createHostPath = try reader.bool("create_host_path") ?? true
        if let propagation = reader.take("propagation") {
            mount.propagation = try propagation.word()
            guard propagations.contains(try propagation.word()) else {
                throw propagation.fail(.value, "\(propagation.shown) is no propagation")
            }
        }
        try reader.finish(unsupported: UnsupportedFields.bind)
    }

    /// `PATH[:size=64m,mode=1777]`.
    static func tmpfs(_ field: Field) throws(ComposeError) -> Service.Mount {
        let parts = try field.word().split(separator: ":", maxSplits: 1).map(String.init)
        var mount = Service.Mount(kind: .tmpfs, source: nil, target: try target(parts.first ?? "", field))
        for option in parts.count == 2 ? parts[1].split(separator: ",") : [] {
            let pair = option.split(separator: "=", maxSplits: 1).map(String.init)
            switch (pair.first, pair.count) {
            case ("size", 2):
                guard let size = Quantity.bytes(pair[1]) else { throw field.fail(.value, "\"\(pair[1])\" is no size") }
                mount.tmpfsSize = size
            case ("mode", 2):
                guard let mode = UInt32(pair[1], radix: 8), mode <= 0o7777 else {
                    throw field.fail(.value, "\"\(pair[1])\" is no file mode")
                }
                mount.tmpfsMode = mode
            case ("ro", 1): mount.readOnly = true
            case ("rw", 1): mount.readOnly = false
            default:
                throw field.fail(.value, "the tmpfs option \"\(option)\" is not supported", hint: "use size and mode")
            }
        }
        return mount
    }

    private static func target(_ path: String, _ field: Field) throws(ComposeError) -> String {
        guard let clean = absolutePath(path), clean != "/" else {
            throw field.fail(.value, "\"\(path)\" is no absolute path in the container")
        }
        return clean
    }

    private static func hostPath(_ path: String, _ field: Field) throws(ComposeError) -> String {
        guard let clean = absolutePath(path) else {
            throw field.fail(
                .value, "\"\(path)\" is no absolute path of the device",
                hint: "the device has no copy of this folder; use an absolute path there, or configs for files to carry"
            )
        }
        return clean
    }

    /// Without doubled or trailing slashes and `.`; nil when not absolute or with `..`.
    static func absolutePath(_ path: String) -> String? {
        let parts = Path.components(path)
        guard Path.isAbsolute(path), !parts.contains("..") else { return nil }
        return "/" + parts.filter { $0 != "." }.joined(separator: "/")
    }
}
