/* An NVML program that owes nothing to any binding: it loads the driver library by
   its SONAME, lazily and globally, looks every function up by name, and prints what
   it reads, one fact a line. Returns the return code of the call that failed. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct device *device_handle;

struct pci_info {
  char legacy_bus_id[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

static void *library;

static void *function(const char *name) {
  void *found = dlsym(library, name);
  if (!found)
    printf("missing %s\n", name);
  return found;
}

#define CALL(name, types, ...)                                                                     \
  do {                                                                                             \
    unsigned(*called) types = (unsigned(*) types)function(name);                                   \
    unsigned code = called ? called(__VA_ARGS__) : 13;                                             \
    if (code != 0) {                                                                               \
      printf("failed %s %u\n", name, code);                                                        \
      return (int)code;                                                                            \
    }                                                                                              \
  } while (0)

static int print_gpu(unsigned index, device_handle *gpu) {
  char uuid[96], name[96];
  struct pci_info pci;
  CALL("nvmlDeviceGetHandleByIndex_v2", (unsigned, device_handle *), index, gpu);
  CALL("nvmlDeviceGetUUID", (device_handle, char *, unsigned), *gpu, uuid, sizeof uuid);
  CALL("nvmlDeviceGetName", (device_handle, char *, unsigned), *gpu, name, sizeof name);
  CALL("nvmlDeviceGetPciInfo_v3", (device_handle, struct pci_info *), *gpu, &pci);
  printf("gpu %u %s\n", index, uuid);
  printf("name %u %s\n", index, name);
  printf("pci %u %s %s %08x\n", index, pci.bus_id, pci.legacy_bus_id, pci.device_id);
  return 0;
}

static int print_pair(unsigned a, unsigned b, device_handle first, device_handle second) {
  unsigned level, status;
  CALL("nvmlDeviceGetTopologyCommonAncestor", (device_handle, device_handle, unsigned *), first,
       second, &level);
  CALL("nvmlDeviceGetP2PStatus", (device_handle, device_handle, unsigned, unsigned *), first,
       second, 2, &status);
  printf("pair %u %u %u %u\n", a, b, level, status);
  return 0;
}

int main(void) {
  device_handle gpus[64];
  unsigned count = 0, a, b;
  int code;
  library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_GLOBAL);
  if (!library) {
    printf("%s\n", dlerror());
    return 12;
  }
  CALL("nvmlInit_v2", (void), );
  CALL("nvmlDeviceGetCount_v2", (unsigned *), &count);
  printf("count %u\n", count);
  for (a = 0; a < count; ++a)
    if ((code = print_gpu(a, &gpus[a])) != 0)
      return code;
  for (a = 0; a < count; ++a)
    for (b = 0; b < count; ++b)
      if (a != b && (code = print_pair(a, b, gpus[a], gpus[b])) != 0)
        return code;
  CALL("nvmlShutdown", (void), );
  return dlclose(library);
}
