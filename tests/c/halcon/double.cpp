// What stands behind Halcon.h and double.hpp.
#include "double.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

namespace {

std::atomic<int> handles{0};
thread_local std::string error_text;

[[noreturn]] void broken(const std::string &what) {
    std::fprintf(stderr, "the interface is misused: %s\n", what.c_str());
    std::exit(1);
}

std::size_t bytes_of(int kind) { return kind == BYTE_IMAGE ? 1 : kind == FLOAT_IMAGE || kind == INT4_IMAGE ? 4 : 2; }

/// A running operator.
struct Call {
    std::vector<std::vector<halcon::ObjectPtr>> in, out;
    std::vector<std::vector<Hcpar>> values;
    std::vector<halcon::Tuple> in_tuples, out_tuples;
    std::set<std::uint8_t *> loose; // images made and neither given away nor freed

    halcon::Object *object(Hkey key) {
        for (auto *side : {&in, &out})
            for (auto &parameter : *side)
                for (auto &object : parameter)
                    if (object.get() == key) return object.get();
        broken("this key is no object of the call");
    }
};

Call &call_of(Hproc_handle ph) { return *static_cast<Call *>(ph); }

template <class Items>
auto &item(Items &items, std::int64_t number, const char *what) {
    if (number < 1 || number > static_cast<std::int64_t>(items.size())) broken(std::string("there is no ") + what);
    return items[static_cast<std::size_t>(number - 1)];
}

std::vector<std::string> split(const std::string &text, char at) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
    return parts;
}

std::string trimmed(const std::string &text) {
    const auto first = text.find_first_not_of(" \t\n"), last = text.find_last_not_of(" \t\n");
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

bool fits(const halcon::Value &value, const std::vector<std::string> &types) {
    static const char *const names[] = {"integer", "real", "string", "handle"};
    for (const std::string &type : types)
        if (type == names[value.index()]) return true;
    return false;
}

} // namespace

namespace halcon {

int living_handles() { return handles; }

Handle::Handle(const HHandleInfo *of) : type(of) { handles++; }

Handle::~Handle() {
    if (data && type->cb_clear(nullptr, data) != H_MSG_OK) broken("a handle cannot be freed");
    handles--;
}

ObjectPtr image(int width, int height, std::vector<Channel> channels) {
    auto object = std::make_shared<Object>();
    object->width = width;
    object->height = height;
    for (Channel &channel : channels)
        if (channel.bytes.size() != static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * bytes_of(channel.kind))
            broken("a channel has the wrong size");
    object->channels = std::move(channels);
    object->has_domain = true;
    for (int row = 0; row < height; row++) object->domain.push_back({row, 0, width - 1});
    return object;
}

Package::Package(const std::string &def, const std::string &library) : library_(dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!library_) broken(dlerror());
    std::ifstream file(def);
    if (!file) broken(def + " cannot be read");
    Operator *op = nullptr;
    Parameter *parameter = nullptr;
    std::string line;
    std::string slot;
    while (std::getline(file, line)) {
        const std::string text = trimmed(line);
        const auto arrow = text.find("<-");
        if (!slot.empty()) {
            if (!text.empty() && text.back() == ';') slot.clear();
        } else if (arrow != std::string::npos) {
            op = &operators_[trimmed(text.substr(0, arrow))];
            parameter = nullptr;
            const auto bracket = text.find('[');
            op->procedure = trimmed(text.substr(arrow + 2, bracket - arrow - 2));
            std::vector<Parameter> *const lists[] = {&op->input_objects, &op->output_objects, &op->input_tuples, &op->output_tuples};
            const std::vector<std::string> groups = split(text.substr(bracket + 1, text.find(']') - bracket - 1) + " ", ':');
            if (groups.size() != 4) broken(text + ": an operator has four groups of parameters");
            for (std::size_t i = 0; i < 4; i++)
                for (const std::string &name : split(trimmed(groups[i]), ',')) lists[i]->push_back({trimmed(name), "", "", {}});
            if (!dlsym(library_, op->procedure.c_str())) broken("the library has no " + op->procedure);
        } else if (text == "parameter") {
            parameter = nullptr;
        } else if (op && text.find(':') != std::string::npos && text.back() == ';' && text.find(' ') != std::string::npos) {
            const auto colon = text.find(':');
            const std::string key = trimmed(text.substr(0, colon)), value = trimmed(text.substr(colon + 1, text.size() - colon - 2));
            std::vector<Parameter> *list = value == "input_object"    ? &op->input_objects
                                           : value == "output_object" ? &op->output_objects
                                           : value == "input_control" ? &op->input_tuples
                                           : value == "output_control" ? &op->output_tuples : nullptr;
            if (list) {
                for (Parameter &candidate : *list)
                    if (candidate.name == key) parameter = &candidate;
                if (!parameter) broken(key + " is described and no parameter");
            } else if (!parameter) {
                op->slots.push_back(key + ": " + value);
            } else if (key == "sem_type") {
                parameter->sem_type = value;
            } else if (key == "multivalue") {
                parameter->multivalue = value;
            } else if (key == "type_list") {
                parameter->types = split(value, ',');
            }
        } else if (!text.empty()) {
            // A slot over several lines: its keyword, then text up to a semicolon.
            if (!op) broken(def + " begins with " + text);
            op->slots.push_back(text);
            if (text != "parallelization") slot = text;
        }
    }
}

Outcome Package::call(const std::string &name, const std::vector<std::vector<ObjectPtr>> &objects,
                      const std::vector<Tuple> &tuples) const {
    const auto found = operators_.find(name);
    if (found == operators_.end()) broken("there is no operator " + name);
    const Operator &op = found->second;
    if (objects.size() != op.input_objects.size() || tuples.size() != op.input_tuples.size())
        broken(name + " is called with the wrong number of parameters");
    Call call;
    Outcome outcome;
    for (std::size_t i = 0; i < tuples.size(); i++) {
        const Parameter &parameter = op.input_tuples[i];
        if (parameter.multivalue == "false" && tuples[i].size() != 1) {
            outcome.code = 1401 + static_cast<Herror>(i);
            return outcome;
        }
        call.values.emplace_back();
        for (const Value &value : tuples[i]) {
            if (!fits(value, parameter.types)) {
                outcome.code = 1201 + static_cast<Herror>(i);
                return outcome;
            }
            Hcpar cell{};
            if (const auto *l = std::get_if<INT4_8>(&value)) cell.par.l = *l, cell.type = LONG_PAR;
            if (const auto *d = std::get_if<double>(&value)) cell.par.d = *d, cell.type = DOUBLE_PAR;
            if (const auto *s = std::get_if<std::string>(&value)) cell.par.s = const_cast<char *>(s->c_str()), cell.type = STRING_PAR;
            if (const auto *h = std::get_if<std::shared_ptr<Handle>>(&value)) cell.par.h = h->get(), cell.type = HANDLE_PAR;
            call.values.back().push_back(cell);
        }
    }
    call.in = objects;
    call.in_tuples = tuples;
    call.out.resize(op.output_objects.size());
    call.out_tuples.resize(op.output_tuples.size());
    error_text.clear();
    const auto procedure = reinterpret_cast<Herror (*)(Hproc_handle)>(dlsym(library_, op.procedure.c_str()));
    outcome.code = procedure(&call);
    outcome.text = error_text;
    if (!call.loose.empty()) broken(name + " has left an image that is nobody's");
    if (outcome.code != H_MSG_TRUE) return outcome; // outputs go with the call
    for (std::size_t i = 0; i < call.out.size(); i++)
        for (const ObjectPtr &object : call.out[i])
            if (!object->has_domain || object->channels.empty()) broken(name + " gives an incomplete image");
    for (std::size_t i = 0; i < call.out_tuples.size(); i++) {
        const Parameter &parameter = op.output_tuples[i];
        if (parameter.multivalue == "false" && call.out_tuples[i].size() != 1) broken(parameter.name + " has not one value");
        for (const Value &value : call.out_tuples[i])
            if (!fits(value, parameter.types)) broken(parameter.name + " has a value of a type that is not in its list");
    }
    outcome.objects = std::move(call.out);
    outcome.tuples = std::move(call.out_tuples);
    return outcome;
}

} // namespace halcon

extern "C" {

Herror HPGetObj(Hproc_handle ph, int parameter, INT4_8 number, Hkey *object) {
    *object = item(item(call_of(ph).in, parameter, "input object parameter"), number, "object of this number").get();
    return H_MSG_OK;
}

Herror HPGetObjNum(Hproc_handle ph, int parameter, INT4_8 *count) {
    *count = static_cast<INT4_8>(item(call_of(ph).in, parameter, "input object parameter").size());
    return H_MSG_OK;
}

Herror HPNumOfChannels(Hproc_handle ph, int parameter, INT4_8 number, int *count) {
    Hkey object;
    HCkP(HPGetObj(ph, parameter, number, &object));
    *count = static_cast<int>(static_cast<halcon::Object *>(object)->channels.size());
    return H_MSG_OK;
}

Herror HPGetDImage(Hproc_handle ph, Hkey object, int channel, Himage *image) {
    halcon::Object *of = call_of(ph).object(object);
    halcon::Channel &found = item(of->channels, channel, "channel of this number");
    *image = {};
    image->kind = found.kind;
    image->width = of->width;
    image->height = of->height;
    switch (found.kind) {
    case UINT2_IMAGE: image->pixel.u.p = reinterpret_cast<std::uint16_t *>(found.bytes.data()); break;
    case INT2_IMAGE: image->pixel.s.p = reinterpret_cast<std::int16_t *>(found.bytes.data()); break;
    case FLOAT_IMAGE: image->pixel.f = reinterpret_cast<float *>(found.bytes.data()); break;
    default: image->pixel.b = found.bytes.data(); break;
    }
    return H_MSG_OK;
}

Herror HPGetFDRL(Hproc_handle ph, Hkey object, Hrlregion **domain) {
    halcon::Object *of = call_of(ph).object(object);
    const auto runs = static_cast<HITEMCNT>(of->domain.size());
    of->handed = {of->complement, runs, runs, of->domain.data()};
    *domain = &of->handed;
    return H_MSG_OK;
}

Herror HPCrObj(Hproc_handle ph, int parameter, Hkey *object) {
    auto &list = item(call_of(ph).out, parameter, "output object parameter");
    list.push_back(std::make_shared<halcon::Object>());
    *object = list.back().get();
    return H_MSG_OK;
}

Herror HPPutDRL(Hproc_handle ph, Hkey object, Hrlregion *region, Hkey *key) {
    halcon::Object *of = call_of(ph).object(object);
    of->domain.assign(region->rl, region->rl + region->num);
    of->complement = region->is_compl;
    of->has_domain = true;
    *key = of;
    return H_MSG_OK;
}

Herror HNewImage(Hproc_handle ph, Himage *image, int kind, HIMGDIM width, HIMGDIM height) {
    const std::size_t bytes = static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * bytes_of(kind);
    *image = {};
    image->kind = kind;
    image->width = width;
    image->height = height;
    // All bits set: a float that nobody has written is no number.
    image->pixel.b = static_cast<std::uint8_t *>(std::malloc(bytes));
    std::memset(image->pixel.b, 0xff, bytes);
    call_of(ph).loose.insert(image->pixel.b);
    return H_MSG_OK;
}

Herror HFreeImage(Hproc_handle ph, Himage *image) {
    if (!call_of(ph).loose.erase(image->pixel.b)) broken("an image is freed that is not loose");
    std::free(image->pixel.b);
    return H_MSG_OK;
}

Herror HPPutDImage(Hproc_handle ph, Hkey object, int channel, Himage *image, bool copy, Hkey *key) {
    halcon::Object *of = call_of(ph).object(object);
    if (channel != static_cast<int>(of->channels.size()) + 1) broken("channels are put in their order");
    const std::size_t bytes =
        static_cast<std::size_t>(image->width) * static_cast<std::size_t>(image->height) * bytes_of(image->kind);
    of->width = image->width;
    of->height = image->height;
    of->channels.push_back({image->kind, std::vector<std::uint8_t>(image->pixel.b, image->pixel.b + bytes)});
    // Without a copy the memory is HALCON's from now on.
    if (!copy) HFreeImage(ph, image);
    *key = of;
    return H_MSG_OK;
}

Herror HPGetPPar(Hproc_handle ph, int parameter, const Hcpar **values, INT4_8 *count) {
    const auto &list = item(call_of(ph).values, parameter, "input control parameter");
    *values = list.data();
    *count = static_cast<INT4_8>(list.size());
    return H_MSG_OK;
}

Herror HPPutElem(Hproc_handle ph, int parameter, const void *values, INT4_8 count, int type) {
    auto &tuple = item(call_of(ph).out_tuples, parameter, "output control parameter");
    for (INT4_8 i = 0; i < count; i++) {
        if (type == LONG_PAR) tuple.emplace_back(static_cast<const INT4_8 *>(values)[i]);
        else if (type == DOUBLE_PAR) tuple.emplace_back(static_cast<const double *>(values)[i]);
        else if (type == STRING_PAR) tuple.emplace_back(std::string(static_cast<const char *const *>(values)[i]));
        else broken("values of this type cannot be put");
    }
    return H_MSG_OK;
}

Herror HPGetPElemH(Hproc_handle ph, int parameter, const HHandleInfo *type, INT4_8 count, void **data, INT4_8 *, bool many) {
    const auto &list = item(call_of(ph).values, parameter, "input control parameter");
    if (many || count != 1 || list.size() != 1) broken("one handle at a time is all that this stand-in knows");
    const auto *handle = list[0].type == HANDLE_PAR ? static_cast<const halcon::Handle *>(list[0].par.h) : nullptr;
    if (!handle || handle->type->type_id != type->type_id) return 1201 + static_cast<Herror>(parameter - 1);
    *data = handle->data;
    return H_MSG_OK;
}

Herror HXAllocOutputHandle(Hproc_handle ph, int parameter, void ***place, const HHandleInfo *type) {
    auto handle = std::make_shared<halcon::Handle>(type);
    item(call_of(ph).out_tuples, parameter, "output control parameter").push_back(handle);
    *place = &handle->data;
    return H_MSG_OK;
}

Herror HSetErrText(char *text) {
    error_text = text;
    return H_MSG_OK;
}

} // extern "C"
