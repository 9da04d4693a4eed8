import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import software.amazon.awssdk.protocols.jsoncore.JsonNode;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.ec2.Ec2Client;
import software.amazon.awssdk.services.ec2.model.Ec2Exception;
import software.amazon.awssdk.services.ec2.model.InstanceType;
import software.amazon.awssdk.services.ec2.model.ResourceType;
import software.amazon.awssdk.services.ec2.model.RunInstancesRequest;
import software.amazon.awssdk.services.ec2.model.Tag;
import software.amazon.awssdk.services.ec2.model.TagSpecification;
import software.amazon.awssdk.services.eks.EksClient;
import software.amazon.awssdk.services.iam.IamClient;
import software.amazon.awssdk.services.iam.model.NoSuchEntityException;
import software.amazon.awssdk.services.pricing.PricingClient;
import software.amazon.awssdk.services.pricing.model.Filter;
import software.amazon.awssdk.services.pricing.model.FilterType;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.model.QueueDoesNotExistException;
import software.amazon.awssdk.services.ssm.SsmClient;
import software.amazon.awssdk.services.sts.StsClient;

/** Calls a fresh `dryfit cloud` through AWS SDK for Java v2, and prints one line per answer. */
public final class Main {
    private static final String TRUST = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
            + "\"Principal\":{\"Service\":\"ec2.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}";
    private static final String PARAMETER =
            "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/image_id";
    private static final String NAME = "sdk-java";

    private static void say(String line) {
        System.out.println(line);
    }

    private static <E extends Exception> E fault(Class<E> kind, Supplier<?> call) {
        try {
            call.get();
        } catch (Exception error) {
            if (kind.isInstance(error)) {
                return kind.cast(error);
            }
            throw error;
        }
        throw new IllegalStateException("no error came");
    }

    public static void main(String[] arguments) {
        var http = UrlConnectionHttpClient.create();
        say("sts account " + StsClient.builder().httpClient(http).build().getCallerIdentity().account());
        machines(Ec2Client.builder().httpClient(http).build(), SsmClient.builder().httpClient(http).build());
        people(IamClient.builder().httpClient(http).region(Region.AWS_GLOBAL).build());
        queues(SqsClient.builder().httpClient(http).build());
        var eks = EksClient.builder().httpClient(http).build();
        say("eks clusters " + eks.listClusters().clusters().size());
        var unknown = fault(
                software.amazon.awssdk.services.eks.model.ResourceNotFoundException.class,
                () -> eks.describeCluster(ask -> ask.name("none")));
        say("eks fault ResourceNotFound typed " + unknown.awsErrorDetails().errorMessage());
        prices(PricingClient.builder().httpClient(http).region(Region.US_EAST_1).build());
    }

    private static void machines(Ec2Client ec2, SsmClient ssm) {
        var zones = new TreeSet<String>();
        ec2.describeAvailabilityZones().availabilityZones().forEach(zone -> zones.add(zone.zoneName()));
        say("ec2 zones " + String.join(" ", zones));
        var kind = ec2.describeInstanceTypes(ask -> ask.instanceTypes(InstanceType.M5_LARGE)).instanceTypes().get(0);
        say("ec2 type " + kind.instanceTypeAsString() + " vcpus " + kind.vCpuInfo().defaultVCpus() + " memory "
                + kind.memoryInfo().sizeInMiB());
        var seen = new ArrayList<String>();
        ec2.describeInstanceTypesPaginator(ask -> ask.maxResults(100)).instanceTypes()
                .forEach(type -> seen.add(type.instanceTypeAsString()));
        if (seen.size() < 500 || new HashSet<>(seen).size() != seen.size()) {
            throw new IllegalStateException("pages gave " + seen.size() + " types");
        }
        say("ec2 types paged all there");
        var image = ssm.getParameter(ask -> ask.name(PARAMETER)).parameter().value();
        say("ssm image " + image.split("-")[0]);

        var tags = TagSpecification.builder().resourceType(ResourceType.INSTANCE)
                .tags(Tag.builder().key("sdk").value("smoke").build()).build();
        var run = RunInstancesRequest.builder().imageId(image).instanceType(InstanceType.M5_LARGE).minCount(1).maxCount(1)
                .tagSpecifications(tags).build();
        var dry = fault(Ec2Exception.class, () -> ec2.runInstances(run.toBuilder().dryRun(true).build()));
        say("ec2 dry run " + dry.awsErrorDetails().errorCode() + " " + dry.statusCode());
        var made = ec2.runInstances(run).instances().get(0);
        say("ec2 run " + made.state().nameAsString() + " " + made.instanceTypeAsString());
        var found = ec2.describeInstances(ask -> ask.instanceIds(made.instanceId())).reservations();
        var tag = found.get(0).instances().get(0).tags().get(0);
        say("ec2 describe " + found.size() + " tag " + tag.key() + "=" + tag.value());
        var ended = ec2.terminateInstances(ask -> ask.instanceIds(made.instanceId())).terminatingInstances().get(0);
        say("ec2 terminate " + ended.currentState().nameAsString());
        var gone = fault(Ec2Exception.class, () -> ec2.describeInstances(ask -> ask.instanceIds("i-0123456789abcdef0")));
        say("ec2 fault " + gone.awsErrorDetails().errorCode() + " " + gone.awsErrorDetails().errorMessage());
    }

    private static void people(IamClient iam) {
        iam.createRole(ask -> ask.roleName(NAME).path("/sdk/").assumeRolePolicyDocument(TRUST));
        say("iam role " + iam.getRole(ask -> ask.roleName(NAME)).role().path());
        iam.deleteRole(ask -> ask.roleName(NAME));
        fault(NoSuchEntityException.class, () -> iam.getRole(ask -> ask.roleName(NAME)));
        say("iam fault NoSuchEntity typed");
    }

    private static void queues(SqsClient sqs) {
        var url = sqs.createQueue(ask -> ask.queueName(NAME)).queueUrl();
        sqs.sendMessage(ask -> ask.queueUrl(url).messageBody("<one> & \"two\""));
        var got = sqs.receiveMessage(ask -> ask.queueUrl(url).waitTimeSeconds(1)).messages().get(0);
        say("sqs body " + got.body());
        sqs.deleteMessage(ask -> ask.queueUrl(url).receiptHandle(got.receiptHandle()));
        sqs.deleteQueue(ask -> ask.queueUrl(url));
        fault(QueueDoesNotExistException.class, () -> sqs.getQueueUrl(ask -> ask.queueName("none")));
        say("sqs fault QueueDoesNotExist typed");
    }

    private static void prices(PricingClient pricing) {
        var wanted = Map.of("regionCode", "us-east-1", "instanceType", "m5.large", "operatingSystem", "Linux", "tenancy", "Shared",
                "preInstalledSw", "NA", "capacitystatus", "Used");
        List<Filter> filters = wanted.entrySet().stream()
                .map(one -> Filter.builder().type(FilterType.TERM_MATCH).field(one.getKey()).value(one.getValue()).build())
                .collect(Collectors.toList());
        var product = pricing.getProducts(ask -> ask.serviceCode("AmazonEC2").filters(filters)).priceList().get(0);
        for (var offer : JsonNode.parser().parse(product).field("terms").get().field("OnDemand").get().asObject().values()) {
            for (var dimension : offer.field("priceDimensions").get().asObject().values()) {
                say("pricing m5.large " + dimension.field("pricePerUnit").get().field("USD").get().asString());
            }
        }
    }
}
